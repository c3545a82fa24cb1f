package shards

import (
	"context"
	"errors"
	"os"
	"testing"
)

func TestRoomForFiles(t *testing.T) {
	for _, tt := range []struct {
		open, most int
		want       bool
	}{
		{0, 1024, true}, {895, 1024, true}, {896, 1024, false}, {1024, 1024, false}, {17499, 20000, true}, {17500, 20000, false}, {3, 1 << 31, true},
	} {
		if got := roomForFiles(tt.open, tt.most); got != tt.want {
			t.Errorf("%d of %d files: room is %t", tt.open, tt.most, got)
		}
	}
}

func TestOpenFiles(t *testing.T) {
	before, most, err := openFiles()
	if err != nil || before < 3 || most < before {
		t.Fatalf("%d of %d files are open, %v", before, most, err)
	}
	for range 50 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	if after, _, err := openFiles(); err != nil || after < before+40 { // other tests' files may have been closed meanwhile
		t.Errorf("%d files are open, and with 50 more %d, %v", before, after, err)
	}
}

// TestCreateLeavesFiles checks that the last files are left to those who would delete a stream.
func TestCreateLeavesFiles(t *testing.T) {
	r := newRig(t)
	r.create(t, Config{Name: "a"})
	open := 99
	r.openFiles = func() (int, int, error) { return open, 100, nil }
	if _, _, err := r.Create(context.Background(), Config{Name: "b"}); !errors.Is(err, ErrFiles) {
		t.Errorf("the error is %v", err)
	}
	if _, created, err := r.Create(context.Background(), Config{Name: "a"}); created || err != nil {
		t.Errorf("the same again is %t, %v", created, err)
	}
	if got := len(r.List()); got != 1 {
		t.Errorf("%d streams are there", got)
	}
	open = 10
	r.create(t, Config{Name: "b"})
	r.openFiles = func() (int, int, error) { return 0, 0, errors.New("no /dev/fd here") }
	r.create(t, Config{Name: "c"})
}
