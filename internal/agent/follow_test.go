package agent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs a test with an agent that is stopped at its end.
func bubble(t *testing.T, settings string, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, settings)
		test(r)
		if r.agent != nil {
			r.stop()
		}
	})
}

func TestFollowsAFile(t *testing.T) {
	bubble(t, `"initialPosition":"END_OF_FILE"`, func(r *rig) {
		r.append("app.log", "old\nhalf")
		r.append("other", "x\n")
		r.append("app.log.gz", "x\n")
		r.start()
		r.append("app.log", " a line\nnew\nunfinished")
		r.pass(999 * time.Millisecond)
		r.wants() // the buffer is not old yet
		r.pass(200 * time.Millisecond)
		r.wants("half a line\n", "new\n")
		r.append("app.log", "!\n")
		r.append("app.log.2", "another file\n")
		r.pass(2 * time.Second)
		r.wants("half a line\n", "new\n", "unfinished!\n", "another file\n")
	})
}

func TestBuffersAreSentWhenFull(t *testing.T) {
	bubble(t, `"maxBufferSizeRecords":2`, func(r *rig) {
		r.append("app.log", "1\n2\n3\n4\n5\n")
		r.start()
		r.wants("1\n", "2\n", "3\n", "4\n")
		r.append("app.log", "6\n")
		r.pass(r.config.Flows[0].Poll)
		r.wants("1\n", "2\n", "3\n", "4\n", "5\n", "6\n")
		if r.service.calls != 3 {
			t.Errorf("%d calls", r.service.calls)
		}
	})
	bubble(t, `"maxBufferSizeBytes":100`, func(r *rig) {
		text, each := lines(1, 3)
		r.append("app.log", text)
		r.start()
		r.wants(each...)
		if r.service.calls != 3 {
			t.Errorf("%d calls", r.service.calls)
		}
	})
}

// What was rotated is read before what came after, from the oldest file on.
func TestRotatedFilesAreReadInOrder(t *testing.T) {
	bubble(t, "", func(r *rig) {
		for i, name := range []string{"app.log.2", "app.log.1", "app.log"} {
			r.append(name, fmt.Sprintf("%d\n", i))
			at := time.Now().Add(time.Duration(i) * time.Second)
			r.must(os.Chtimes(r.path(name), at, at))
		}
		r.start()
		r.pass(time.Second)
		r.wants("0\n", "1\n", "2\n")
		r.append("app.log", "3\nunfin")
		r.rename("app.log.1", "app.log.3")
		r.rename("app.log", "app.log.1")
		r.append("app.log.1", "ished\n")
		r.append("app.log", "4\n")
		r.pass(2 * time.Second)
		r.wants("0\n", "1\n", "2\n", "3\n", "unfinished\n", "4\n")
	})
}

// A file that loses its name is read to its end, its unfinished line included, and then let go.
func TestFileThatLosesItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "")
		r.configure("app.log", "")
		r.append("app.log", "1\n")
		r.start()
		r.append("app.log", "2\n")
		r.rename("app.log", "app.old")
		r.append("app.log", "4\n")
		r.append("app.old", "3\nunfinished")
		r.pass(2 * time.Second)
		r.wants("1\n", "2\n", "3\n", "4\n")
		r.pass(rotatedAfter)
		r.pass(2 * time.Second)
		r.wants("1\n", "2\n", "3\n", "4\n", "unfinished")
		if n := r.agent.counts[0].files.Load(); n != 1 {
			t.Errorf("%d files are followed, want 1", n)
		}
		r.must(os.Remove(r.path("app.log")))
		r.pass(rotatedAfter + 2*time.Second)
		if n := r.agent.counts[0].files.Load(); n != 0 {
			t.Errorf("%d files are followed, want none", n)
		}
		r.stop()
	})
}

func TestTruncation(t *testing.T) {
	bubble(t, "", func(r *rig) {
		text, each := lines(1, 9)
		r.append("app.log", text)
		r.start()
		r.must(os.Truncate(r.path("app.log"), 0))
		r.pass(time.Second)
		again, more := lines(10, 12)
		r.append("app.log", again)
		r.pass(2 * time.Second)
		r.wants(slices.Concat(each, more)...)
		// Written anew at once, and longer than before.
		anew, newer := lines(20, 30)
		r.must(os.WriteFile(r.path("app.log"), []byte(anew), 0o600))
		r.pass(2 * time.Second)
		r.wants(slices.Concat(each, more, newer)...)
	})
}

// A rotation by copy and truncate neither repeats what the copy holds nor loses what was written before the truncation.
func TestCopyTruncate(t *testing.T) {
	for _, quick := range []bool{false, true} {
		bubble(t, "", func(r *rig) {
			text, each := lines(1, 9)
			r.append("app.log", text)
			r.start()
			text, more := lines(10, 12)
			r.append("app.log", text)
			data, err := os.ReadFile(r.path("app.log"))
			r.must(err)
			r.must(os.WriteFile(r.path("app.log.1"), data[:300], 0o600)) // the copy in the making
			if !quick {
				r.pass(time.Second)
			}
			r.must(os.WriteFile(r.path("app.log.1"), data, 0o600))
			if !quick {
				r.pass(time.Second)
			}
			r.must(os.Truncate(r.path("app.log"), 0))
			text, newer := lines(13, 15)
			r.append("app.log", text)
			r.pass(5 * time.Second)
			r.wants(slices.Concat(each, more, newer)...)
		})
	}
}

// A file that only looks like a copy is read after a while.
func TestCopyWithoutTruncation(t *testing.T) {
	bubble(t, "", func(r *rig) {
		text, each := lines(1, 9)
		r.append("app.log", text)
		r.start()
		r.append("app.log.1", text)
		r.pass(copyFor + 2*time.Second)
		r.wants(slices.Concat(each, each)...)
	})
}

// A restart goes on where it was, whatever has happened to the files meanwhile.
func TestRestart(t *testing.T) {
	first, each := lines(1, 9)
	second, more := lines(10, 12)
	third, newer := lines(13, 15)
	for name, between := range map[string]func(r *rig){
		"appended": func(r *rig) { r.append("app.log", second+third) },
		"renamed": func(r *rig) {
			r.append("app.log", second)
			r.rename("app.log", "app.log.1")
			r.append("app.log", third)
		},
		"renamed out of the pattern": func(r *rig) {
			r.append("app.log", second)
			r.rename("app.log", "old")
			r.append("app.log", third)
		},
		"copied and truncated": func(r *rig) {
			r.append("app.log", second)
			r.copyTruncate("app.log", "app.log.1")
			r.append("app.log", third)
		},
		"truncated and longer": func(r *rig) {
			r.must(os.WriteFile(r.path("app.log"), []byte(second+strings.Repeat(third, 1)), 0o600))
		},
		"replaced": func(r *rig) { r.must(os.Remove(r.path("app.log"))); r.append("app.log", second+third) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, "", func(r *rig) {
				r.append("app.log", first)
				r.start()
				r.stop() // what was read is sent
				r.wants(each...)
				between(r)
				r.start()
				r.pass(2 * time.Second)
				r.wants(slices.Concat(each, more, newer)...)
			})
		})
	}
}

// A new flow that begins at the end does so once: what is written while the agent is down is read.
func TestEndOfFileIsRemembered(t *testing.T) {
	bubble(t, `"initialPosition":"END_OF_FILE"`, func(r *rig) {
		r.append("app.log", "old\n")
		r.start()
		r.stop()
		r.append("app.log", "1\n")
		r.append("app.log.0", "2\n")
		r.start()
		r.pass(2 * time.Second)
		if got := r.service.records(); len(got) != 2 || !slices.Contains(got, "1\n") || !slices.Contains(got, "2\n") {
			t.Errorf("%q", got)
		}
	})
}

// What is refused is sent again in order and before anything that follows; positions stay behind it.
func TestRefusedRecordsAreSentAgain(t *testing.T) {
	bubble(t, `"maxBufferSizeRecords":3`, func(r *rig) {
		r.append("app.log", "1\n2\n3\n4\n5\n6\n7\n")
		r.service.refuse = func(call int, records []entry) ([]result, error) {
			results := make([]result, len(records))
			switch call {
			case 1:
				return nil, errors.New("no host")
			case 2:
				results[0].ErrorCode, results[2].ErrorCode = "ProvisionedThroughputExceededException", "InternalFailure"
			case 3:
				results[1].ErrorCode = "InternalFailure"
			}
			return results, nil
		}
		r.start()
		r.wants()
		r.pass(100 * time.Millisecond)
		r.wants("2\n")
		r.pass(2 * time.Second)
		r.wants("2\n", "1\n", "3\n", "4\n", "5\n", "6\n", "7\n")
		if n := r.agent.counts[0]; n.sent.Load() != 7 || n.failures.Load() != 3 || n.bytes.Load() != 14 || n.read.Load() != 7 {
			t.Errorf("counts %v", n.list())
		}
	})
}

// While nothing can be put, two buffers are held and the files wait; the agent ends in its time and forgets nothing.
func TestBackpressure(t *testing.T) {
	bubble(t, `"maxBufferSizeRecords":2`, func(r *rig) {
		text, each := lines(1, 20)
		r.append("app.log", text)
		var up atomic.Bool
		r.service.refuse = func(int, []entry) ([]result, error) {
			if !up.Load() {
				return nil, errors.New("no host")
			}
			return make([]result, 2), nil
		}
		r.start()
		r.pass(time.Hour)
		if n := r.agent.counts[0].read.Load(); n > 5 {
			t.Errorf("%d records were read", n)
		}
		if n := strings.Count(r.log.String(), "could not be put"); n < 50 || n > 61 {
			t.Errorf("the log tells %d times in an hour that nothing can be put", n)
		}
		begun := time.Now()
		r.stop()
		if d := time.Since(begun); d != r.config.Shutdown {
			t.Errorf("the end took %v", d)
		}
		up.Store(true)
		r.start()
		r.pass(time.Second)
		r.wants(each...)
	})
}

func TestHeaderAndFooter(t *testing.T) {
	bubble(t, `"skipHeaderLines":2,"fileFooterPattern":"# end.*"`, func(r *rig) {
		r.append("app.log", "h1\n")
		r.start()
		r.pass(time.Second)
		r.append("app.log", "h2\n1\n")
		r.pass(2 * time.Second)
		r.append("app.log", "2\n# end of it\nmore\n")
		r.pass(2 * time.Second)
		r.wants("1\n", "2\n")
		r.stop()
		r.append("app.log", "still more\n")
		r.start()
		r.pass(2 * time.Second)
		r.wants("1\n", "2\n")
		r.must(os.WriteFile(r.path("app.log"), []byte("h1\nh2\n3\n"), 0o600))
		r.pass(2 * time.Second)
		r.wants("1\n", "2\n", "3\n")
	})
}

// A record of several lines ends where the next begins, or when nothing was added for a while.
func TestMultiLine(t *testing.T) {
	bubble(t, `"multiLineStartPattern":"\\d"`, func(r *rig) {
		r.append("app.log", "1 a\n at\n2 b\n")
		r.start()
		r.pass(500 * time.Millisecond)
		r.append("app.log", " at\n")
		r.pass(quietAfter - 100*time.Millisecond)
		if n := r.agent.counts[0].read.Load(); n != 1 {
			t.Errorf("%d records are complete, want 1", n)
		}
		r.pass(2 * time.Second)
		r.wants("1 a\n at\n", "2 b\n at\n")
	})
}

// Records too large are cut with the terminator; what is larger than a request is passed over to the next record.
func TestLargeRecords(t *testing.T) {
	bubble(t, `"truncatedRecordTerminator":"<cut>\n","partitionKeyOption":"DETERMINISTIC"`, func(r *rig) {
		fits := strings.Repeat("x", kinesisRecord-33) + "\n"
		large := strings.Repeat("y", kinesisRecord) + "\n"
		huge := strings.Repeat("z", 3*kinesisBuffer) + "\n"
		r.append("app.log", "1\n"+fits+large+huge+"2\n")
		r.start()
		r.pass(2 * time.Second)
		end := kinesisRecord - 32 - len("<cut>\n")
		r.wants("1\n", fits, large[:end]+"<cut>\n", huge[:end]+"<cut>\n", "2\n")
		if r.service.keys[0] != "b026324c6904b2a9cb4b88d6d61c81d1" {
			t.Errorf("partition key %q is not the MD5", r.service.keys[0])
		}
	})
}

// Records that are left out, or cannot be converted, do not hold up the others nor the position.
func TestConversionFailures(t *testing.T) {
	bubble(t, `"dataProcessingOptions":[{"optionName":"LOGTOJSON","logFormat":"SYSLOG","matchPattern":"(\\d+)","customFieldNames":["n"]}]`, func(r *rig) {
		r.append("app.log", "1\nx\n2\ny\n")
		r.start()
		r.config.Flows[0].converters = append(r.config.Flows[0].converters, func(data []byte) ([]byte, error) {
			if bytes.Contains(data, []byte("3")) {
				return nil, errors.New("three")
			}
			return data, nil
		})
		r.pass(2 * time.Second)
		r.append("app.log", "z\n")
		r.pass(2 * time.Second)
		r.wants(`{"n":"1"}`+"\n", `{"n":"2"}`+"\n")
		r.stop()
		if r.service.calls != 1 {
			t.Errorf("%d calls", r.service.calls)
		}
		r.append("app.log", "3\n")
		r.start()
		r.pass(2 * time.Second)
		r.wants(`{"n":"1"}`+"\n", `{"n":"2"}`+"\n", "3\n")
		if n := r.agent.counts[0]; n.skipped.Load() != 0 || n.unconverted.Load() != 1 {
			t.Errorf("counts %v", n.list())
		}
	})
}

// With very many files those that are idle are closed, and opened again when they grow.
func TestManyFiles(t *testing.T) {
	bubble(t, `"minTimeBetweenFilePollsMillis":1000`, func(r *rig) {
		const files = manyFiles + 5
		for i := range files {
			r.append(fmt.Sprintf("app.log.%03d", i), fmt.Sprintf("%d\n", i))
		}
		r.start()
		r.pass(2 * idleAfter)
		if n := openFiles(t); n > manyFiles/2 {
			t.Errorf("%d files are open", n)
		}
		r.append("app.log.007", "more\n")
		r.pass(r.config.Flows[0].Refresh + 2*time.Second)
		if got := r.service.records(); len(got) != files+1 || got[files] != "more\n" {
			t.Errorf("%d records, the last is %q", len(got), got[len(got)-1])
		}
		r.must(os.WriteFile(r.path("app.log.008"), []byte("replaced\n"), 0o600))
		r.pass(2*idleAfter + 2*time.Second)
		if got := r.service.records(); len(got) != files+2 || got[files+1] != "replaced\n" {
			t.Errorf("%d records, the last is %q", len(got), got[len(got)-1])
		}
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(entries)
}

// A folder that is not there yet, or cannot be read, is waited for and told of once.
func TestFolderThatComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "")
		r.configure("later/app.log", "")
		r.start()
		r.pass(time.Minute)
		r.must(os.Mkdir(r.path("later"), 0o700))
		r.append("later/app.log", "1\n")
		r.pass(r.config.Flows[0].Refresh + 2*time.Second)
		r.wants("1\n")
		r.stop()
	})
}
