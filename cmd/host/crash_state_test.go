package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shardmill/shardmill/api"
)

// stateAcks are the changes of state that the host has acknowledged over all its lives.
type stateAcks struct {
	mu      sync.Mutex
	entries map[string]string // put under keys of their own
	counts  map[int]int       // how often the counter was acknowledged to have become a number
	unknown int               // increments whose answer never came
	more    chan struct{}
}

var killed = api.StateOf{Table: "killed"}

// count makes the counter one more, by compare-and-set, again and again.
func (a *stateAcks) count(ctx context.Context, client *api.Client) {
	for ctx.Err() == nil {
		value, revision, err := client.StateEntry(ctx, killed, "n")
		if p := (*api.Problem)(nil); errors.As(err, &p) && p.Kind() == api.KindEntryNotFound {
			value, revision = []byte("0"), api.NoEntry
		} else if err != nil {
			continue
		}
		n, _ := strconv.Atoi(string(value))
		_, err = client.PutStateEntry(ctx, killed, "n", []byte(strconv.Itoa(n+1)), revision)
		a.mu.Lock()
		switch refused := (*api.Problem)(nil); {
		case err == nil:
			a.counts[n+1]++
		case !errors.As(err, &refused):
			a.unknown++
		}
		a.mu.Unlock()
	}
}

// put puts entries of its own and, between them, loads a table of many whose values are all the same.
func (a *stateAcks) put(ctx context.Context, client *api.Client, name string) {
	for i := 1; ctx.Err() == nil; i++ {
		key := fmt.Sprintf("%s.%d", name, i)
		value := key + strings.Repeat("x", i%3000)
		if _, err := client.PutStateEntry(ctx, killed, key, []byte(value), api.NoEntry); err == nil {
			a.mu.Lock()
			a.entries[key] = value
			a.mu.Unlock()
			select {
			case a.more <- struct{}{}:
			default:
			}
		}
		var lines strings.Builder
		for k := range 100 {
			fmt.Fprintf(&lines, "{\"key\":\"%d\",\"text\":\"%d\"}\n", k, i)
		}
		_, _ = client.LoadState(ctx, api.StateOf{Table: "loaded-" + name[:1]}, "", strings.NewReader(lines.String()))
	}
}

// A real process is killed at random moments while its state is changed: what it has acknowledged is there, a batch is there whole or not at all, and
// of two changes that expected the same revision one was made.
func TestKilledState(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	all := &stateAcks{entries: map[string]string{}, counts: map[int]int{}, more: make(chan struct{}, 1)}
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for round := range max(2, crashRounds(t)/2) {
		p := startProcess(t, dir)
		client := clientAt(t, p.api)
		all.verify(t, client)
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		for putter := range 2 {
			work.Go(func() { all.put(ctx, client, fmt.Sprintf("%d.%d", putter, round)) })
			work.Go(func() { all.count(ctx, client) })
		}
		for range 3 + rng.IntN(40) {
			select {
			case <-all.more:
			case <-p.ended:
				t.Fatalf("the process ended by itself:\n%s", p.log.String())
			}
		}
		p.Process.Kill()
		<-p.ended
		cancel()
		work.Wait()
	}
	all.verify(t, clientAt(t, startProcess(t, dir).api))
}

func (a *stateAcks) verify(t *testing.T, client *api.Client) {
	t.Helper()
	stored := map[string]string{}
	for e, err := range client.StateEntries(t.Context(), killed, "") {
		if err != nil {
			t.Fatal(err)
		}
		stored[e.Name()] = string(e.Bytes())
	}
	for key, value := range a.entries {
		if stored[key] != value {
			t.Errorf("%s was acknowledged and has %.40q", key, stored[key])
		}
	}
	n, _ := strconv.Atoi(stored["n"])
	for value, times := range a.counts {
		if times > 1 || value > n {
			t.Errorf("the counter is %d; it was acknowledged %d times to have become %d", n, times, value)
		}
	}
	if n > len(a.counts)+a.unknown {
		t.Errorf("the counter is %d after %d changes that were acknowledged and %d that may have been made", n, len(a.counts), a.unknown)
	}
	for _, table := range []string{"loaded-0", "loaded-1"} {
		values := map[string]int{}
		for e, err := range client.StateEntries(t.Context(), api.StateOf{Table: table}, "") {
			if err != nil {
				t.Fatal(err)
			}
			values[string(e.Bytes())]++
		}
		if len(values) > 1 {
			t.Errorf("table %s has parts of several loads: %v", table, values)
		}
	}
	t.Logf("%d entries, the counter is %d, %d answers never came", len(a.entries), n, a.unknown)
}
