package rules

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

func reflectOf[T any](p *T) reflect.Value { return reflect.ValueOf(p).Elem() }

// settingsNode implements detectors.Settings on a part of a rule file.
type settingsNode struct {
	file *file
	node *yaml.Node
}

// Decode implements detectors.Settings.
func (s *settingsNode) Decode(into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("settings are decoded into a pointer to a struct, not %T", into)
	}
	// Faults are returned, so that they are reported once, by the loader.
	scratch := &file{path: s.file.path, lines: s.file.lines}
	scratch.structure(s.node, v.Elem())
	if len(scratch.errs) > 0 {
		return scratch.errs
	}
	return nil
}

// Errorf implements detectors.Settings.
func (s *settingsNode) Errorf(key, format string, args ...any) error {
	n := s.node
	for step := range strings.SplitSeq(key, ".") {
		next := child(n, step)
		if i, err := strconv.Atoi(step); err == nil && n.Kind == yaml.SequenceNode && i >= 0 && i < len(n.Content) {
			next = n.Content[i]
		}
		if next == nil {
			break
		}
		n = next
	}
	msg := fmt.Sprintf(format, args...)
	return s.file.fault(n.Line, n.Column, "", "%s", msg)
}

// adopt records what a factory returned: faults with a place as they are,
// others at the detector.
func (f *file) adopt(n *yaml.Node, err error) {
	switch e := err.(type) { //nolint:errorlint // wrapped faults are unwrapped by the cases
	case *Error:
		f.errs = append(f.errs, e)
	case Errors:
		f.errs = append(f.errs, e...)
	case interface{ Unwrap() []error }:
		for _, x := range e.Unwrap() {
			f.adopt(n, x)
		}
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil && hasPlace(inner) {
			f.adopt(n, inner)
			return
		}
		f.node(n, "", "%s", err)
	default:
		f.node(n, "", "%s", err)
	}
}

func hasPlace(err error) bool {
	switch e := err.(type) { //nolint:errorlint // wrapped faults are unwrapped by the cases
	case *Error, Errors:
		return true
	case interface{ Unwrap() error }:
		return e.Unwrap() != nil && hasPlace(e.Unwrap())
	}
	return false
}
