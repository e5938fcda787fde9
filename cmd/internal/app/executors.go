package app

import "github.com/trailwarden/trailwarden/responders"

func (a *App) executors(mo *responders.MachineOptions) error { return nil }
