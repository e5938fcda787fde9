// Package config reads trailwarden's one YAML file: strictly, with the
// position of every fault, with ${ENV} and ${file:…} references, and with
// every value overridable by an environment variable.
package config
