// Package durable puts small files on the disk whole or not at all: after a full
// disk, a kill or a power cut there is the new one or the one before.
package durable

import (
	"errors"
	"io/fs"
	"os"
)

// Replace puts a file on the disk before it takes the place of the one at path,
// beside which it is written (path.new). Of an error nothing is left. After a power
// cut right behind it the file before may be there again: see SyncDir.
func Replace(path string, data []byte, mode fs.FileMode) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp) // ours, and half
	}
	return err
}

// SyncDir puts on the disk which files a folder has.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
