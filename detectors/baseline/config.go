package baseline

import (
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/window"
)

// The kinds and levels of novelty.
const (
	KindNetwork = "network"
	KindValue   = "value"

	LevelAddress = "address"
	LevelNetwork = "network"
	LevelASN     = "asn"
	LevelCountry = "country"
	LevelValue   = "value" // the only level of kind value
)

// Config is the settings of a first_seen detector in a rule file.
type Config struct {
	// Kind is what values are: network (default) or value.
	Kind string `yaml:"kind"`
	// LearnFor and LearnCount say how long an identity only learns; Learn
	// says whether it needs both (all, the default) or either (any).
	LearnFor   time.Duration `yaml:"learn_for"`
	LearnCount int           `yaml:"learn_count"`
	Learn      string        `yaml:"learn"`
	// ForgetAfter is how long an identity must be active without a network
	// to forget it; DropAfter how long it must be silent to be dropped.
	ForgetAfter time.Duration `yaml:"forget_after"`
	DropAfter   time.Duration `yaml:"drop_after"`
	// Support is how many observations make a network usual.
	Support int `yaml:"support"`
	// Novelty is the level on which something must be new, see the package.
	Novelty string `yaml:"novelty"`
	// Roaming is how many networks that are new within 14 days, and go on coming, make
	// an identity one that has no usual place, so that a further network is told only when
	// its country is new; 0 is never. What is learned does not depend on it.
	Roaming int `yaml:"roaming"`
	// MaxValues is the most networks or values kept for one identity.
	MaxValues int `yaml:"max_values"`
	// Noun is what an observation is in the reason, in the singular, for
	// example "sign-in"; Phrase begins the reason, for example "first
	// sign-in from".
	Noun   string `yaml:"noun"`
	Phrase string `yaml:"phrase"`
	// NounZH and PhraseZH are the same in Chinese, the noun with its measure
	// word: "次登录", "首次登录自". WordsZH are parts of values in Chinese.
	NounZH   string       `yaml:"noun_zh"`
	PhraseZH string       `yaml:"phrase_zh"`
	WordsZH  window.Words `yaml:"words_zh"`
	// MaxKeys and MaxBytes bound the identities remembered.
	MaxKeys  int `yaml:"max_keys"`
	MaxBytes int `yaml:"max_bytes"`
}

// Defaults are the settings that a rule does not give.
func Defaults() Config {
	return Config{
		Kind: KindNetwork, LearnFor: 14 * 24 * time.Hour, LearnCount: 50, Learn: "all",
		ForgetAfter: 90 * 24 * time.Hour, DropAfter: 365 * 24 * time.Hour,
		Support: 1, Novelty: LevelASN, MaxValues: 16, Noun: "call", NounZH: "次调用",
		MaxKeys: 100_000, MaxBytes: 128 << 20,
	}
}

// Validate returns a *window.FieldError for the first unusable setting.
func (c Config) Validate() error {
	if c.Kind != KindNetwork && c.Kind != KindValue {
		return window.Bad("kind", "%q is neither network nor value", c.Kind)
	}
	if err := c.WordsZH.Validate(); err != nil {
		return err
	}
	if c.LearnFor < 0 || c.LearnFor > window.MaxWindow {
		return window.Bad("learn_for", "%s is not between 0 and %s", c.LearnFor, window.MaxWindow)
	}
	if err := window.CheckRange("learn_count", c.LearnCount, 0, 1_000_000); err != nil {
		return err
	}
	if c.Learn != "all" && c.Learn != "any" {
		return window.Bad("learn", "%q is neither all (learn_for and learn_count) nor any (either)", c.Learn)
	}
	if c.LearnFor == 0 && c.LearnCount == 0 {
		return window.Bad("learn_count", "learn_for and learn_count are both 0: the first thing ever seen would be new")
	}
	if c.Learn == "any" && (c.LearnFor == 0 || c.LearnCount == 0) {
		return window.Bad("learn", "with any, learn_for and learn_count must both be over 0, or nothing is learned")
	}
	if err := window.CheckWindow("forget_after", c.ForgetAfter, 10*window.MaxWindow); err != nil {
		return err
	}
	if err := window.CheckWindow("drop_after", c.DropAfter, 10*window.MaxWindow); err != nil {
		return err
	}
	if err := window.CheckRange("support", c.Support, 1, 1000); err != nil {
		return err
	}
	switch c.Novelty {
	case LevelAddress, LevelNetwork, LevelASN, LevelCountry:
	default:
		return window.Bad("novelty", "%q is none of address, network, asn, country", c.Novelty)
	}
	if err := window.CheckRange("max_values", c.MaxValues, 1, 1024); err != nil {
		return err
	}
	if err := window.CheckRange("roaming", c.Roaming, 0, c.MaxValues); err != nil {
		return err
	}
	if c.Roaming > 0 && c.Kind == KindValue {
		return window.Bad("roaming", "is about networks, and kind is value")
	}
	if c.Noun == "" {
		return window.Bad("noun", "must not be empty")
	}
	return window.CheckBounds(c.MaxKeys, c.MaxBytes)
}

// Factory makes the detector from a rule's settings.
var Factory = window.Factory(Defaults, func(c Config) detectors.Detector { return New(c) })
