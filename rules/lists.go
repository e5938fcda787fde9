package rules

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"
)

// knownLists are the named lists that the shipped rules and the documentation
// speak of. Others may be used; lint says so.
var knownLists = []string{
	"office_networks", "vpn_networks", "cloud_networks", "ci_networks", "ci_keys", "tor_exits", "threat_networks",
	"breakglass_users", "org_accounts", "audit_stores", "audit_buckets", "protected_domains", "used_regions", "own_principals",
}

// list is a named list: words, and networks where entries are addresses.
type list struct {
	words map[string]bool
	nets  netset
}

func newList(entries []string) *list {
	l := &list{words: make(map[string]bool)}
	for _, e := range entries {
		e = strings.TrimSpace(e)
		if p, ok := parseNetwork(e); ok {
			l.nets.add(p)
		}
		l.words[strings.ToLower(e)] = true
	}
	return l
}

func (l *list) has(value string, addr netip.Addr) bool {
	if l == nil || value == "" {
		return false
	}
	return l.words[strings.ToLower(value)] || addr.IsValid() && l.nets.contains(addr)
}

// parseNetwork reads a network or a single address, in one form.
func parseNetwork(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		if p.Addr().Is4In6() {
			if p.Bits() < 96 {
				return netip.Prefix{}, false
			}
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return p.Masked(), true
	}
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	return netip.Prefix{}, false
}

// NoNetwork says that an entry was meant as a network and is none: as a plain word
// it would never match anything.
func NoNetwork(s string) bool {
	if _, ok := parseNetwork(s); ok {
		return false
	}
	addr, bits, ok := strings.Cut(strings.TrimSpace(s), "/")
	return ok && addr != "" && strings.Trim(addr, "0123456789abcdefABCDEF.:") == "" && strings.Trim(bits, "0123456789") == "" && strings.ContainsAny(addr, ".:")
}

// netset holds networks by their length, so that a look-up costs one map
// access for each length in use, however many networks there are.
type netset struct {
	bits []int
	nets map[netip.Prefix]bool
}

func (s *netset) add(p netip.Prefix) {
	if s.nets == nil {
		s.nets = make(map[netip.Prefix]bool)
	}
	s.nets[p] = true
	if i, ok := slices.BinarySearch(s.bits, p.Bits()); !ok {
		s.bits = slices.Insert(s.bits, i, p.Bits())
	}
}

func (s *netset) contains(a netip.Addr) bool {
	for _, b := range s.bits {
		if p, err := a.Prefix(b); err == nil && s.nets[p] {
			return true
		}
	}
	return false
}

// sortedLists gives lists a fixed order for hashing.
func sortedLists(m map[string][]string) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// maxListFile bounds a list file; the largest public lists of networks have some
// hundred thousand lines.
const maxListFile = 16 << 20

var listName = regexp.MustCompile(`^[a-z0-9][a-z0-9_]*$`)

// listFiles reads the list files of the options and returns all lists: entries
// of the configuration first, then those of files by path.
func (l *loader) listFiles() map[string][]string {
	out := make(map[string][]string, len(l.opts.Lists))
	for name, entries := range l.opts.Lists {
		out[name] = slices.Clone(entries)
	}
	from := map[string]string{}
	for _, p := range l.files(l.opts.ListDirs, EmptyDir{"list_dirs", "list (*.txt)", ""}, ".txt") {
		name := strings.TrimSuffix(filepath.Base(p), ".txt")
		if !listName.MatchString(name) {
			l.fail(p, "name it after the list: tor_exits.txt", "%q is not the name of a list", clean(name))
			continue
		}
		if other := from[name]; other != "" {
			l.fail(p, "put the entries into one file", "list %q stands in %s already", name, other)
			continue
		}
		from[name] = p
		data, ok := l.readFile(p, maxListFile)
		if !ok {
			continue
		}
		entries, errs := parseList(p, data)
		l.errs = append(l.errs, errs...)
		out[name] = append(out[name], entries...)
		l.keep("lists", name+".txt", data)
	}
	return out
}

// parseList reads one entry a line. What follows a # is a comment, unless it is
// part of a word.
func parseList(path string, data []byte) ([]string, Errors) {
	f := newFile(path, data)
	if !utf8.Valid(data) {
		f.at(0, 0, "", "the file is not UTF-8 text")
		return nil, f.errs
	}
	var out []string
	for i, line := range f.lines {
		entry := line
		if c := strings.IndexByte(entry, '#'); c == 0 || c > 0 && (entry[c-1] == ' ' || entry[c-1] == '\t') {
			entry = entry[:c]
		}
		indent := len(entry) - len(strings.TrimLeft(entry, " \t"))
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		column := indent + 1
		switch {
		case strings.ContainsAny(entry, " \t,;"):
			f.at(i+1, column, "", "one entry a line; this has several words")
			continue
		case NoNetwork(entry):
			f.at(i+1, column, `write 203.0.113.0/24 or 2001:db8::/32`, "%q is not a network", tame(entry, 60))
			continue
		case strings.IndexFunc(entry, hostile) >= 0:
			f.at(i+1, column, "", "the entry holds characters that cannot be seen")
			continue
		}
		out = append(out, entry)
	}
	return out, f.errs
}

// files lists the files with an ending in folders, sub-folders included, and
// single files, in order and each once. A folder that has none is remembered as what.
func (l *loader) files(dirs []string, what EmptyDir, ext ...string) []string {
	var out []string
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil {
			l.fail(dir, "", "%s cannot be read: %v", what.Key, errors.Unwrap(err))
			continue
		}
		if !info.IsDir() {
			out = append(out, dir)
			continue
		}
		before := len(out)
		if err := fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir():
				return hiddenDir(p)
			case slices.Contains(ext, filepath.Ext(p)) && !strings.HasPrefix(d.Name(), ".") && !strings.HasPrefix(d.Name(), "_"):
				out = append(out, filepath.Join(dir, p))
			}
			return nil
		}); err != nil {
			l.fail(dir, "", "%s cannot be read: %v", what.Key, err)
		} else if len(out) == before {
			what.Dir = dir
			l.empty = append(l.empty, what)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// readFile reads one file of bounded size.
func (l *loader) readFile(p string, limit int64) ([]byte, bool) {
	info, err := os.Stat(p)
	if err == nil && info.Size() > limit {
		l.fail(p, "", "the file has %d bytes: at most %d are read", info.Size(), limit)
		return nil, false
	}
	data, err := os.ReadFile(p)
	if err != nil {
		l.fail(p, "", "cannot be read: %v", errors.Unwrap(err))
		return nil, false
	}
	return data, true
}
