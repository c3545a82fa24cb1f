package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// file is one that a flow follows. Its position is that of the record to be read next.
type file struct {
	position
	handle *os.File // nil while too many files are followed and this one is idle
	head   []byte   // the first HeadLen bytes

	first   time.Time // its time of modification when it was found: files are read in this order
	size    int64     // when it was last looked at
	written time.Time // its time of modification then
	grown   time.Time // when it was last seen to change
	tried   attempt   // the last look for records that found no more of them
	skip    int       // header lines still to be passed over
	named   bool      // it has a name that matches
	renamed bool      // it had another one
	missed  bool      // it was truncated: the folder must be listed before it is read on
}

// attempt is what a look for records depends on.
type attempt struct {
	size         int64
	written      time.Time
	quiet, final bool
}

// errChanged says that a file does not hold what was read from it any more.
var errChanged = errors.New("the file has been truncated or written anew")

// identity is the file system's name of a file.
func identity(info fs.FileInfo) fileID {
	st := info.Sys().(*syscall.Stat_t)
	return fileID{uint64(st.Dev), st.Ino}
}

// open opens a file and makes sure that it is the one that was listed.
func open(path string, id fileID) (*os.File, fs.FileInfo, error) {
	handle, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := handle.Stat()
	if err == nil && identity(info) != id {
		err = errChanged
	}
	if err != nil {
		handle.Close()
		return nil, nil, err
	}
	return handle, info, nil
}

// holds tells whether what is before a position is what was read there. head is the file's beginning.
func holds(r io.ReaderAt, pos *position) (head []byte, ok bool) {
	head = make([]byte, pos.HeadLen)
	if _, err := r.ReadAt(head, 0); err != nil && !(err == io.EOF && len(head) == 0) {
		return nil, false
	}
	check := make([]byte, len(pos.Check))
	if _, err := r.ReadAt(check, pos.Offset-int64(len(check))); err != nil && len(check) > 0 {
		return nil, false
	}
	return head, bytes.Equal(check, pos.Check) && (pos.HeadLen == 0 || hashOf(head) == pos.Head)
}

func hashOf(head []byte) string {
	sum := sha256.Sum256(head)
	return hex.EncodeToString(sum[:])
}

// resume goes on at a position. Error: errChanged when the file does not hold what is before it.
func (t *file) resume(pos position) error {
	head, ok := holds(t.handle, &pos)
	if !ok {
		return errChanged
	}
	pos.fileID, pos.Path = t.fileID, t.Path
	t.position, t.head = pos, head
	t.skip = 0
	return nil
}

// restart begins at the file's beginning.
func (t *file) restart(f *Flow) {
	t.position = position{fileID: t.fileID, Path: t.Path}
	t.head, t.skip, t.tried = t.head[:0], f.skipLines, attempt{}
}

// toEnd goes behind the last whole line.
func (t *file) toEnd(size int64) error {
	end := size
	block := make([]byte, 64<<10)
	for end > 0 {
		from := max(0, end-int64(len(block)))
		b := block[:end-from]
		if _, err := t.handle.ReadAt(b, from); err != nil {
			return err
		}
		if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
			end = from + int64(i) + 1
			break
		}
		end = from
	}
	if end == 0 {
		return nil
	}
	t.skip = 0
	t.Offset = end
	t.Check = make([]byte, min(end, checkBytes))
	t.HeadLen = min(end, headBytes)
	t.head = make([]byte, t.HeadLen)
	if _, err := t.handle.ReadAt(t.head, 0); err != nil {
		return err
	}
	t.Head = hashOf(t.head)
	_, err := t.handle.ReadAt(t.Check, end-int64(len(t.Check)))
	return err
}

// read fills b with what is before the position, for comparison, and behind it up to the end given. It returns the latter. Error:
// errChanged.
func (t *file) read(b []byte, end int64) ([]byte, error) {
	check := len(t.Check)
	b = b[:min(int64(len(b)), int64(check)+end-t.Offset)]
	n, err := t.handle.ReadAt(b, t.Offset-int64(check))
	switch {
	case err != nil && err != io.EOF:
		return nil, err
	case n < check || !bytes.Equal(b[:check], t.Check):
		return nil, errChanged
	}
	return b[check:n], nil
}

// advance moves the position over bytes that were read at it.
func (t *file) advance(b []byte) {
	t.Offset += int64(len(b))
	if room := headBytes - t.HeadLen; room > 0 {
		t.head = append(t.head, b[:min(int64(len(b)), room)]...)
		t.HeadLen = int64(len(t.head))
		t.Head = hashOf(t.head)
	}
	// A new slice: marks keep the old one.
	check := make([]byte, 0, checkBytes)
	if len(b) < checkBytes {
		check = append(check, t.Check[max(0, len(t.Check)+len(b)-checkBytes):]...)
	}
	t.Check = append(check, b[max(0, len(b)-checkBytes):]...)
}

func (t *file) close() {
	if t.handle != nil {
		t.handle.Close()
		t.handle = nil
	}
}

// rotated tells whether a writer is done with the file for sure: it has lost its name, and has been quiet for long.
func (t *file) rotated(now time.Time) bool {
	return (t.renamed || !t.named) && now.Sub(t.grown) >= rotatedAfter
}
