package secrets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
)

const (
	definitionFormat = 1
	maxKeyFile       = 64 << 10
)

// definition is a secret as it is stored.
type definition struct {
	Format    int       `json:"format"`
	Created   time.Time `json:"created"`
	Modified  time.Time `json:"modified"`
	Recipient string    `json:"recipient"`
	Sealed    []byte    `json:"sealed"`
}

func (d *definition) encode() []byte {
	b, err := json.Marshal(d)
	if err != nil {
		panic(err) // it holds plain values only
	}
	return b
}

func decode(stored []byte) (definition, error) {
	var d definition
	decoder := json.NewDecoder(bytes.NewReader(stored))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		return d, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if d.Format != definitionFormat {
		return d, fmt.Errorf("%w: it has format %d, this program reads %d", ErrDamaged, d.Format, definitionFormat)
	}
	return d, nil
}

// seal encrypts a value with its name.
func (d *definition) seal(key *age.X25519Identity, name string, value []byte) error {
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, key.Recipient())
	if err != nil {
		return err
	}
	plain := append(append([]byte{byte(len(name))}, name...), value...)
	if _, err := w.Write(plain); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	d.Recipient, d.Sealed = key.Recipient().String(), sealed.Bytes()
	return nil
}

// open decrypts the value and makes sure that it is the one of that name.
func (d *definition) open(key *age.X25519Identity, name string) ([]byte, error) {
	if own := key.Recipient().String(); d.Recipient != own {
		return nil, fmt.Errorf("%w: it was encrypted to %.80q, the key file has the key of %s", ErrKey, d.Recipient, own)
	}
	r, err := age.Decrypt(bytes.NewReader(d.Sealed), key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	plain, err := io.ReadAll(io.LimitReader(r, 1+MaxNameBytes+MaxValueBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if len(plain) <= 1+len(name) || int(plain[0]) != len(name) || string(plain[1:1+len(name)]) != name {
		return nil, fmt.Errorf("%w: it was stored under another name", ErrDamaged)
	}
	return plain[1+len(name):], nil
}

// errNoKey is the ErrKey of a file that is not there.
var errNoKey = fmt.Errorf("%w: there is no key file", ErrKey)

// readKey reads a key file. The error never has a line of it.
func readKey(path string) (*age.X25519Identity, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w %s", errNoKey, path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s has mode %#o; it must be readable by its owner alone (chmod 600)", ErrKey, path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	var key *age.X25519Identity
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		found, err := age.ParseX25519Identity(line)
		if err != nil || key != nil {
			return nil, fmt.Errorf("%w: %s must have one X25519 identity, as age-keygen writes it", ErrKey, path)
		}
		key = found
	}
	if key == nil {
		return nil, fmt.Errorf("%w: %s must have one X25519 identity, as age-keygen writes it", ErrKey, path)
	}
	return key, nil
}

// makeKey makes a key and its file, durably, before anything is encrypted to it.
func makeKey(path string) (*age.X25519Identity, error) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	text := fmt.Sprintf("# The key of this host's secrets. Without it they cannot be read.\n# public key: %s\n%s\n", key.Recipient(), key)
	if err := writeKey(path, text); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return key, nil
}

func writeKey(path, text string) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path+".new"))
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
