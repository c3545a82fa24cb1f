package aws

import (
	"archive/zip"
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// zipped is a zip of files, by name.
func zipped(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w := ok(z.Create(name))(t)
		ok(w.Write(files[name]))(t)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestZips refuses bombs and whatever is odd.
func TestZips(t *testing.T) {
	module := guest{}.module()
	plain := zipped(t, map[string][]byte{"m.wasm": module})
	if got, err := moduleOf(plain); err != nil || !bytes.Equal(got, module) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if got, err := moduleOf(module); err != nil || !bytes.Equal(got, module) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	bomb := zipped(t, map[string][]byte{"m.wasm": make([]byte, maxModule+1)})
	many := map[string][]byte{}
	for i := range 25_000 {
		many[strconv.Itoa(i)] = nil
	}
	lying := bytes.Clone(bomb) // says it is small
	at := bytes.LastIndex(lying, []byte("PK\x01\x02"))
	copy(lying[at+24:], []byte{1, 0, 0, 0})
	flagged := func(offset int, b ...byte) []byte {
		z := bytes.Clone(plain)
		copy(z[bytes.LastIndex(z, []byte("PK\x01\x02"))+offset:], b)
		return z
	}
	var link bytes.Buffer
	z := zip.NewWriter(&link)
	header := &zip.FileHeader{Name: "m.wasm"}
	header.SetMode(0o777 | 1<<27) // a symbolic link
	w := ok(z.CreateHeader(header))(t)
	ok(w.Write([]byte("/etc/passwd")))(t)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		blob []byte
		want string
	}{
		"empty": {nil, "unzip"}, "text": {[]byte("hello"), "unzip"}, "cut": {plain[:len(plain)-1], "unzip"}, "no directory": {plain[:40], "unzip"},
		"a bomb": {bomb, "must be smaller"}, "a bomb that lies": {lying, "unzip"}, "many files": {zipped(t, many), "unzip"},
		"a link": {link.Bytes(), "no regular file"}, "encrypted": {flagged(8, 1), "encrypted"}, "an unknown method": {flagged(10, 99), "unzip"},
		"a wrong checksum": {flagged(16, 1, 2, 3, 4), "unzip"}, "an offset behind the end": {flagged(42, 0xff, 0xff, 0xff, 0x7f), "unzip"},
		"a folder": {zipped(t, map[string][]byte{"m.wasm/": nil}), "no file"},
	} {
		if got, err := moduleOf(tt.blob); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %d bytes, %v, want %s", name, len(got), err, tt.want)
		}
	}
}

func FuzzZip(f *testing.F) {
	f.Add(zipped(f, map[string][]byte{"m.wasm": []byte("\x00asm"), "x": []byte("y")}))
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, blob []byte) {
		module, err := moduleOf(blob)
		if err == nil && len(module) > maxModule {
			t.Fatalf("%d bytes", len(module))
		}
	})
}
