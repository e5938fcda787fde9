// Package alert holds what detection hands on: a [Detection] is the immutable
// statement that a rule matched and on what evidence; an [Alert] is the unit
// that people and playbooks handle, detections with one key folded together.
//
// The JSON form of an Alert is the contract "trailwarden.alert/v1".
package alert
