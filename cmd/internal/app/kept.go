package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/rules"
)

// keptMeta says how to load rules that were kept.
type keptMeta struct {
	Hash    string              `json:"hash"`
	Pack    bool                `json:"pack"`
	Disable []string            `json:"disable,omitempty"`
	Lists   map[string][]string `json:"lists,omitempty"`
}

// keptDir is where the files of the rules in force are kept, beside the store.
func (a *App) keptDir() string { return filepath.Join(a.cfg.StateDir, "rules") }

// keepRules keeps the files of the rules in force. It is a precaution, so a
// failure is only said.
func (a *App) keepRules() {
	a.book.mu.Lock()
	r := rulesOf(&a.book.detect)
	refused := a.book.refused.err != nil
	a.book.mu.Unlock()
	if refused {
		return // what is in force was kept before
	}
	set := a.Rules()
	if err := keep(a.keptDir(), set, keptMeta{Hash: set.Hash(), Pack: r.Pack, Disable: r.Disable, Lists: r.Lists}); err != nil {
		a.log.Error("the rules in force could not be kept for a start with broken files", "error", err)
	}
}

// keep writes the files into a folder of their own and then lets "current" name
// it, so that an end in between leaves what was kept before. What is kept already is
// looked at: a disk may have lost it.
func keep(dir string, set *rules.Set, m keptMeta) (err error) {
	to := filepath.Join(dir, m.Hash)
	meta, err := json.Marshal(m)
	if err != nil {
		return err
	}
	files := map[string][]byte{filepath.Join(to, "meta.json"): meta}
	for _, s := range set.Sources() {
		files[filepath.Join(to, s.Kind, s.Name)] = s.Data
	}
	for path, data := range files {
		if !holdsFile(path, data) {
			err = errors.Join(err, putFile(path, data))
		}
	}
	current := filepath.Join(dir, "current")
	if err != nil || holdsFile(current, []byte(m.Hash)) {
		return err
	}
	if err := putFile(current+".new", []byte(m.Hash)); err != nil {
		return err
	}
	if err := os.Rename(current+".new", current); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() && e.Name() != m.Hash {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

//go:noinline
func holdsFile(path string, data []byte) bool {
	old, err := os.ReadFile(path)
	return err == nil && bytes.Equal(old, data)
}

// putFile writes a file and has it on the disk when it returns.
func putFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// loadKept loads what was kept. Address data is taken from where the
// configuration says; without it, when it cannot be read.
func loadKept(dir string, c *config.Config) (*rules.Set, error) {
	name, err := os.ReadFile(filepath.Join(dir, "current"))
	if err != nil {
		return nil, err
	}
	from := filepath.Join(dir, filepath.Base(string(name)))
	data, err := os.ReadFile(filepath.Join(from, "meta.json"))
	if err != nil {
		return nil, err
	}
	var m keptMeta
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	r := Rules{Pack: m.Pack, Disable: m.Disable, Lists: m.Lists, GeoCountry: c.Detect.GeoCountry, GeoASN: c.Detect.GeoASN}
	for kind, dirs := range map[string]*[]string{"rules": &r.Dirs, "exceptions": &r.Exceptions, "lists": &r.ListDirs, "owners": &r.Owners} {
		if _, err := os.Stat(filepath.Join(from, kind)); err == nil {
			*dirs = []string{filepath.Join(from, kind)}
		}
	}
	set, err := r.Load()
	if err != nil && r.GeoCountry+r.GeoASN != "" {
		r.GeoCountry, r.GeoASN = "", ""
		set, err = r.Load()
	}
	return set, err
}
