package catalog

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/internal/broker"
)

// crashEnv makes the test binary the child of TestKill: it holds the directory.
const crashEnv = "SHARDMILL_CATALOG_CRASH_DIR"

// crashKeys is how many keys the child writes to, over and over.
const crashKeys = 8

// crashChild writes to a catalog until it is killed. It prints a line for each write it
// begins, "begin key value", and "done key value" when it is acknowledged; the value of
// a deletion is -.
func crashChild(dir string) {
	ctx := context.Background()
	fail := func(err error) {
		fmt.Println("fail", err)
		os.Exit(1)
	}
	b, err := broker.Open(ctx, broker.Options{Dir: natsDir(dir), Logger: quiet})
	if err != nil {
		fail(err)
	}
	c, err := Open(ctx, Options{JetStream: b.JetStream(), Dir: catalogDir(dir), Logger: quiet})
	if err != nil {
		fail(err)
	}
	for _, a := range c.Alarms() {
		fmt.Println("alarm", a.Kind, a.Detail, a.Lost)
	}
	table, err := c.Table(ctx, "t")
	if err != nil {
		fail(err)
	}
	for k := range crashKeys {
		go func() {
			if err := crashWriter(ctx, table, strconv.Itoa(k)); err != nil {
				fail(err)
			}
		}()
	}
	select {}
}

// crashWriter is the only writer of its key. The padding makes the snapshot be written
// anew now and then.
func crashWriter(ctx context.Context, table *Table, key string) error {
	padding := strings.Repeat("p", 500)
	n := 0
	for {
		e, err := table.Get(key)
		if err == nil {
			fmt.Sscan(string(e.Value), &n)
		}
		n++
		value := fmt.Sprintf("%d %s", n, padding)
		switch {
		case err != nil:
			fmt.Println("begin", key, n)
			_, err = table.Create(ctx, key, []byte(value))
		case n%5 == 0:
			fmt.Println("begin", key, "-")
			if err = table.Delete(ctx, key, e.Revision); err == nil {
				fmt.Println("done", key, "-")
			}
			n++ // begin again above the deleted value
			fmt.Println("begin", key, n)
			if err == nil {
				_, err = table.Create(ctx, key, fmt.Appendf(nil, "%d %s", n, padding))
			}
		default:
			fmt.Println("begin", key, n)
			_, err = table.Update(ctx, key, []byte(value), e.Revision)
		}
		if err != nil {
			return err
		}
		fmt.Println("done", key, n)
	}
}

// TestKill kills a process that writes, many times, and checks each time that every
// acknowledged write is there, that nothing is there that was not begun, and that the
// crash is not taken for damage.
func TestKill(t *testing.T) {
	rounds := 6
	if os.Getenv(sweepEnv) == "1" {
		rounds = 50
	}
	dir := t.TempDir()
	acked, begun := map[string]string{}, map[string]string{} // of each key the last value
	for round := range rounds {
		killChild(t, dir, 20+round*17%60, acked, begun)
		h := openHouse(t, dir)
		wantNoAlarms(t, h.catalog)
		got := map[string]string{}
		for k, v := range content(h.table(t, "t")) {
			got[k], _, _ = strings.Cut(v, " ")
		}
		for k := range crashKeys {
			key := strconv.Itoa(k)
			value, there := got[key]
			if !there {
				value = "-"
			}
			want, known := acked[key]
			if known && value != want && value != begun[key] {
				t.Errorf("round %d: key %s holds %s; acknowledged is %s, under way was %s", round, key, value, want, begun[key])
			}
			acked[key], begun[key] = value, value
		}
		h.close(t)
	}
}

// killChild runs the child until it has acknowledged n writes and kills it. It notes of
// each key the last value acknowledged and the last begun.
func killChild(t *testing.T, dir string, n int, acked, begun map[string]string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) == 3 && f[0] == "begin":
			begun[f[1]] = f[2]
		case len(f) == 3 && f[0] == "done":
			acked[f[1]] = f[2]
			if n--; n == 0 {
				// The lines still in the pipe are read to the end.
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		default:
			t.Errorf("the child says: %s", lines.Text())
		}
	}
	_ = cmd.Wait()
	if n > 0 {
		t.Fatal("the child ended by itself")
	}
}
