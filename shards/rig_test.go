package shards

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/shardmill/shardmill/sdk/record"
)

type rig struct {
	*Store
	options Options
	table   *memTable
	disk    *memDisk
	logged  *bytes.Buffer
	logs    openLog // nil: disk.open
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{table: new(memTable), disk: &memDisk{perSegment: 3}, logged: new(bytes.Buffer)}
	r.options = Options{Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(r.logged, nil))}
	r.open(t)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) open(t testing.TB) {
	t.Helper()
	logs := r.logs
	if logs == nil {
		logs = r.disk.open
	}
	s, err := openStore(context.Background(), r.options, r.table, logs, false)
	if err != nil {
		t.Fatal(err)
	}
	r.Store = s
}

func (r *rig) reopen(t testing.TB) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.open(t)
}

func (r *rig) create(t testing.TB, c Config) *Stream {
	t.Helper()
	if _, created, err := r.Create(context.Background(), c); err != nil || !created {
		t.Fatalf("create %q: %v, %v", c.Name, created, err)
	}
	return r.stream(t, c.Name)
}

func (r *rig) stream(t testing.TB, name string) *Stream {
	t.Helper()
	st, err := r.Stream(name)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func (r *rig) memLog(t testing.TB, st *Stream) *memLog {
	t.Helper()
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	return r.disk.logs[r.folder(st.ID())]
}

func put(t testing.TB, st *Stream, keys ...string) []Result {
	t.Helper()
	var records []record.Record
	for _, key := range keys {
		records = append(records, record.Record{Key: []byte(key), Data: []byte(key)})
	}
	results, err := st.Put(context.Background(), records, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.Err != nil {
			t.Fatalf("record %d: %v", i, r.Err)
		}
	}
	return results
}
