package config

import (
	"fmt"
	"os"
	"path/filepath"
)

// paths lets relative paths of files that are read begin at the folder of the
// configuration, as ${file:…} does: a program that is started elsewhere finds the
// same files. What the environment says is relative to the working directory, as
// what a flag says, and so is what is written (state_dir, notify.ocsf[].path): an
// update must not begin with an empty state somewhere else.
func (p *parser) paths(c *Config) {
	d, n, t := &c.Detect, &c.NATS, &c.Console.TLS
	for _, f := range []struct {
		key  string
		path *string
	}{
		{"nats.creds", &n.Creds}, {"nats.nkey", &n.NKey}, {"nats.ca", &n.CA}, {"nats.cert", &n.Cert}, {"nats.key", &n.Key},
		{"detect.geo_country", &d.GeoCountry}, {"detect.geo_asn", &d.GeoASN}, {"console.tls.cert", &t.Cert}, {"console.tls.key", &t.Key},
	} {
		p.path(f.key, "", f.path)
	}
	for _, l := range []struct {
		key   string
		paths []string
	}{{"detect.rules", d.Rules}, {"detect.exceptions", d.Exceptions}, {"detect.list_dirs", d.ListDirs}, {"detect.owners", d.Owners}} {
		for i := range l.paths {
			p.path(l.key, fmt.Sprintf("[%d]", i), &l.paths[i])
		}
	}
}

// path is paths for one value, of a list where index says which.
func (p *parser) path(key, index string, s *string) {
	base := filepath.Dir(p.file)
	if *s == "" || filepath.IsAbs(*s) || base == "." || p.fromEnv[p.at(key)] != "" {
		return
	}
	here := *s
	*s = filepath.Join(base, here)
	if _, err := os.Stat(*s); err == nil {
		return
	}
	if _, err := os.Stat(here); err == nil {
		p.bad(key+index, "%s is not there: paths are relative to the folder of this file; there is one in the working directory: write its whole path, or move it", *s)
	}
}
