package agent

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// step is one thing that happens to a log file, or to the agent.
type step struct {
	Kind  string
	Lines int
	Wait  time.Duration
}

// Whatever happens to a log file and to the agent, every line is put, in order and, without a crash, once.
func TestModel(t *testing.T) {
	kinds := []string{"write", "write", "half a line", "wait", "wait", "rename", "rename", "copy and truncate", "restart", "refuse", "out of the pattern"}
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
			return step{
				Kind: rapid.SampledFrom(kinds).Draw(rt, "kind"), Lines: rapid.IntRange(1, 8).Draw(rt, "lines"),
				Wait: time.Duration(rapid.IntRange(0, 5000).Draw(rt, "ms")) * time.Millisecond,
			}
		}), 1, 15).Draw(rt, "steps")
		size := rapid.IntRange(1, 20).Draw(rt, "buffer")
		var err error
		synctest.Test(t, func(t *testing.T) { err = runSteps(t, steps, size) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func runSteps(t *testing.T, steps []step, size int) error {
	r := newRig(t, `"maxBufferSizeRecords":`+strconv.Itoa(size))
	var want []string
	half, rotations := false, 0
	write := func(n int) {
		text, each := lines(len(want)+1, len(want)+n)
		if half {
			text, half = text[4:], false
		}
		r.append("app.log", text)
		want = append(want, each...)
		r.touch("app.log")
	}
	write(6) // enough for a fingerprint
	r.start()
	r.pass(time.Second)
	for _, s := range steps {
		switch s.Kind {
		case "write":
			write(s.Lines)
		case "half a line":
			if !half {
				r.append("app.log", "line")
				r.touch("app.log")
				half = true
			}
		case "wait":
			r.pass(s.Wait)
		case "refuse":
			left := s.Lines
			r.service.mu.Lock()
			r.service.refuse = func(_ int, records []entry) ([]result, error) {
				if left--; left > 0 {
					return nil, errors.New("not now")
				}
				return make([]result, len(records)), nil
			}
			r.service.mu.Unlock()
		case "restart":
			r.stop()
			r.start()
		default:
			rotations++
			if half { // a writer finishes its line
				write(1)
			}
			r.rotate(s.Kind, fmt.Sprintf("app.log.%04d", rotations))
			write(6)
		}
	}
	if half {
		write(1)
	}
	r.pass(time.Minute)
	r.stop()
	if got := r.service.records(); !slices.Equal(got, want) {
		var numbers []string
		for _, line := range got {
			numbers = append(numbers, strings.TrimSuffix(strings.TrimPrefix(line, "line "), " of some length, so that a few of them make a fingerprint\n"))
		}
		return fmt.Errorf("got the lines %s of %d\n%s", numbers, len(want), r.log.String())
	}
	return nil
}

// touch sets a file's time: a file system's clock ticks too slowly for this writer.
func (r *rig) touch(name string) {
	r.ticks++
	at := time.Unix(2e9, int64(r.ticks)*1e6)
	r.must(os.Chtimes(r.path(name), at, at))
}

// rotate renames the log file, or copies it. Where it takes a fingerprint, the agent has time to read the file and to see the copy.
func (r *rig) rotate(kind, to string) {
	if kind != "rename" {
		r.service.mu.Lock()
		r.service.refuse = nil
		r.service.mu.Unlock()
		r.pass(15 * time.Second)
	}
	switch kind {
	case "rename":
		r.rename("app.log", to)
	case "copy and truncate":
		r.copyTruncate("app.log", to)
		r.touch(to)
		r.touch("app.log")
		r.pass(200 * time.Millisecond)
	default:
		r.rename("app.log", "old."+to)
	}
}
