package aws

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"io"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"
	"testing"
)

// zipRounds is how often each bad zip is given: few times, or what SHARDMILL_BAD_ROUNDS sets ("make soak").
func zipRounds(t *testing.T) int {
	t.Helper()
	v := os.Getenv("SHARDMILL_BAD_ROUNDS")
	if v == "" {
		return 2
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		t.Fatalf("SHARDMILL_BAD_ROUNDS is %q", v)
	}
	return n
}

// zeros is a zip of one file of so many zeros, packed as tightly as can be.
func zeros(t *testing.T, name string, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	w := ok(z.Create(name))(t)
	ok(io.CopyN(w, zeroReader{}, size))(t)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zeroReader struct{}

func (zeroReader) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// held is the live heap and the goroutines of the process.
func held() (heap int64, goroutines int) {
	var m goruntime.MemStats
	goruntime.GC()
	goruntime.GC()
	goruntime.ReadMemStats(&m)
	return int64(m.HeapAlloc), goruntime.NumGoroutine()
}

// Whatever zip is uploaded is refused with an error that says why, takes no more memory meanwhile than a module may, and is gone
// afterwards.
func TestBadZips(t *testing.T) {
	program := zipped(t, map[string][]byte{"bootstrap": []byte("\x7fELF")})
	bomb := zeros(t, "m.wasm", maxModule+1)
	small := zeros(t, "m.wasm", 4<<20)
	liar := bytes.Clone(small) // says it has a byte
	copy(liar[bytes.LastIndex(liar, []byte("PK\x01\x02"))+24:], []byte{1, 0, 0, 0})
	boaster := bytes.Clone(small) // says it is as large as can be
	copy(boaster[bytes.LastIndex(boaster, []byte("PK\x01\x02"))+24:], []byte{0, 0, 0, 4})
	var nested []byte
	for n := range 3 {
		nested = zipped(t, map[string][]byte{"m" + strconv.Itoa(n) + ".zip": append(nested, bomb...)})
	}
	for name, c := range map[string]struct {
		blob []byte
		says string
	}{
		"a bomb":                 {bomb, "must be smaller than 67108864 bytes"},
		"a bomb that says less":  {liar, "unzip"},
		"a file that says more":  {boaster, "unzip"},
		"zips in zips":           {nested, "no file whose name ends with .wasm"},
		"a program for Linux":    {program, "A function is a WebAssembly module"},
		"names with odd bytes":   {zipped(t, map[string][]byte{"\x1b[31m\xff.wasm": nil, "\x00.wasm": nil}), "more than one file"},
		"a directory cut in two": {small[:len(small)-30], "unzip"},
	} {
		t.Run(name, func(t *testing.T) {
			round := func() {
				if module, err := moduleOf(c.blob); err == nil || !strings.Contains(err.Error(), c.says) {
					t.Fatalf("%d bytes, %v; want %q", len(module), err, c.says)
				}
			}
			round()
			rounds := zipRounds(t)
			heap, goroutines := held()
			for range rounds {
				round()
			}
			heapAfter, goroutinesAfter := held()
			if heapAfter > heap+4<<20 || goroutinesAfter > goroutines+10 {
				t.Errorf("%d bytes of heap, %d before; %d goroutines, %d before", heapAfter, heap, goroutinesAfter, goroutines)
			}
			t.Logf("%d rounds; heap %+d KiB, goroutines %+d", rounds, (heapAfter-heap)>>10, goroutinesAfter-goroutines)
		})
	}
}
