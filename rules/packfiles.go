package rules

import "io/fs"

// PackFiles are the shipped rule files by name, as they are read.
func PackFiles() (map[string][]byte, error) {
	out := map[string][]byte{}
	err := fs.WalkDir(packFS, "pack", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := packFS.ReadFile(p)
		if err == nil {
			out[d.Name()] = b
		}
		return err
	})
	return out, err
}
