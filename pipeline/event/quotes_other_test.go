//go:build !amd64

package event

func eachKernel(func(name string)) {}
