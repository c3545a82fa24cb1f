package journal

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
)

// ackedFile says how far the journal has been acknowledged. Only the writer uses it after opening.
type ackedFile struct {
	journal *Journal
	file    File
	last    acked
	damaged bool // what is there says nothing: it is made anew
}

func (a *ackedFile) path() string { return filepath.Join(a.journal.opt.Dir, "acked") }

// read returns the newest valid slot. found is false when there is no file, or when there is one that says nothing.
func (a *ackedFile) read() (last acked, found bool, err error) {
	f, err := a.journal.opt.FS.Open(a.path())
	if errors.Is(err, fs.ErrNotExist) {
		return acked{}, false, nil
	}
	if err != nil {
		return acked{}, false, err
	}
	b := make([]byte, 2*ackedSlotSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		n = 0 // a bad sector: what it held says nothing
	}
	valid := 0
	for at := 0; at+ackedSlotSize <= n; at += ackedSlotSize {
		slot, ok := decodeAcked(b[at : at+ackedSlotSize])
		if !ok {
			continue
		}
		if valid++; slot.group >= last.group {
			last = slot
		}
	}
	a.damaged = valid == 0
	return last, valid > 0, f.Close()
}

// open makes the file ready to be written, making it durable when it is new.
func (a *ackedFile) open() error {
	f, err := a.journal.opt.FS.Open(a.path())
	if errors.Is(err, fs.ErrNotExist) {
		f, err = a.journal.opt.FS.Create(a.path())
	} else if err == nil && a.damaged {
		// To write over a part of a bad sector would be to read it first. On a read-only disk it stays.
		if made, failed := a.journal.opt.FS.Create(a.path()); failed == nil {
			f, err = made, f.Close()
		}
	}
	if err != nil {
		return err
	}
	a.file, a.damaged = f, false
	if size, err := f.Size(); err != nil || size >= 2*ackedSlotSize {
		return err
	}
	a.last.id = a.journal.id
	slot := a.last.encode()
	if _, err := f.WriteAt(append(slot, slot...), 0); err != nil {
		return err
	}
	return errors.Join(a.journal.opt.Traffic.sync(f), a.journal.opt.FS.SyncDir(a.journal.opt.Dir))
}

// advance notes that everything up to the end of a group is durable. A file that cannot be written is opened anew the next time.
func (a *ackedFile) advance(group uint64, end position) error {
	if a.file == nil {
		if err := a.open(); err != nil {
			return err
		}
	}
	to := acked{group: group, end: end, id: a.journal.id}
	if _, err := a.file.WriteAt(to.encode(), int64(group%2)*ackedSlotSize); err != nil {
		return errors.Join(err, a.abandon())
	}
	a.last = to
	return nil
}

// sync makes the mark itself durable, so that it also survives a loss of power.
func (a *ackedFile) sync() error {
	if a.file == nil {
		return nil
	}
	return a.journal.opt.Traffic.sync(a.file)
}

// abandon closes the file without a word.
func (a *ackedFile) abandon() error {
	if a.file == nil {
		return nil
	}
	f := a.file
	a.file = nil
	return f.Close()
}
