package shards_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/shardmill/shardmill/internal/broker"
	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

var quiet = slog.New(slog.DiscardHandler)

// house is a store on a real catalog and real journals.
type house struct {
	dir     string
	broker  *broker.Broker
	catalog *catalog.Catalog
	*shards.Store
}

func openHouse(t testing.TB, dir string) *house {
	t.Helper()
	ctx := context.Background()
	h := &house{dir: dir}
	var err error
	if h.broker, err = broker.Open(ctx, broker.Options{Dir: filepath.Join(dir, "nats"), Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	if h.catalog, err = catalog.Open(ctx, catalog.Options{JetStream: h.broker.JetStream(), Dir: filepath.Join(dir, "catalog"), Logger: quiet}); err != nil {
		t.Fatal(errors.Join(err, h.broker.Close()))
	}
	if h.Store, err = shards.Open(ctx, shards.Options{Dir: h.streams(), Catalog: h.catalog}); err != nil {
		t.Fatal(errors.Join(err, h.catalog.Close(), h.broker.Close()))
	}
	return h
}

func (h *house) streams() string { return filepath.Join(h.dir, "streams") }

func (h *house) close(t testing.TB) {
	t.Helper()
	if err := errors.Join(h.Close(), h.catalog.Close(), h.broker.Close()); err != nil {
		t.Error(err)
	}
}

func TestOpenOnRealParts(t *testing.T) {
	dir := t.TempDir()
	h := openHouse(t, dir)
	var want [][]byte
	for i := range 3 {
		d, created, err := h.Create(t.Context(), shards.Config{Name: fmt.Sprint("s", i), Shards: 1000})
		if err != nil || !created || len(d.Shards) != 1000 {
			t.Fatalf("%v, %v, %d shards", created, err, len(d.Shards))
		}
	}
	st, err := h.Stream("s0")
	if err != nil {
		t.Fatal(err)
	}
	var records []record.Record
	for i := range 5000 {
		records = append(records, record.Record{Key: fmt.Appendf(nil, "key %d", i), Data: fmt.Appendf(nil, "data %d", i)})
		want = append(want, records[i].Data)
	}
	results, err := st.Put(t.Context(), records, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Delete(t.Context(), "s1"); err != nil {
		t.Fatal(err)
	}
	h.close(t)

	h = openHouse(t, dir)
	defer h.close(t)
	if list := h.List(); len(list) != 2 || list[0].Name != "s0" || list[1].Name != "s2" {
		t.Fatalf("listed %d streams", len(list))
	}
	folders, err := os.ReadDir(h.streams())
	if len(folders) != 3 || err != nil || folders[0].Name() != ".spares" {
		t.Errorf("%d folders, %v; want two of streams and the spare segments'", len(folders), err)
	}
	if st, err = h.Stream("s0"); err != nil {
		t.Fatal(err)
	}
	var got [][]byte
	for _, id := range st.Shards() {
		r, err := st.Reader(id, shards.Start{})
		if err != nil {
			t.Fatal(err)
		}
		for {
			run, ok, err := r.TryNext()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			for rec := range run.All() {
				got = append(got, slices.Clone(rec.Data))
			}
		}
	}
	slices.SortFunc(want, slices.Compare)
	slices.SortFunc(got, slices.Compare)
	if !slices.EqualFunc(want, got, slices.Equal) {
		t.Errorf("put %d records, read %d", len(want), len(got))
	}
	again, err := st.Put(t.Context(), records[:1], nil)
	if err != nil || again[0].Sequence <= results[0].Sequence || again[0].Shard != results[0].Shard {
		t.Errorf("%+v after %+v, %v", again, results[0], err)
	}
}

// TestDamageOnDisk flips a byte of a stored record under a running store.
func TestDamageOnDisk(t *testing.T) {
	dir := t.TempDir()
	h := openHouse(t, dir)
	d, _, err := h.Create(t.Context(), shards.Config{Name: "s"})
	if err != nil {
		t.Fatal(err)
	}
	st, err := h.Stream("s")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"first", "mischief", "third"} {
		if _, err := st.Put(t.Context(), []record.Record{{Key: []byte("k"), Data: []byte(text)}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	h.close(t)
	flip(t, filepath.Join(h.streams(), d.ID), "mischief")

	h = openHouse(t, dir)
	defer h.close(t)
	if st, err = h.Stream("s"); err != nil {
		t.Fatal(err)
	}
	r, err := st.Reader(0, shards.Start{})
	if err != nil {
		t.Fatal(err)
	}
	if run, err := r.Next(t.Context()); err != nil || string(run.First().Data) != "first" {
		t.Fatalf("%q, %v", run.First().Data, err)
	}
	var damage *shards.DamageError
	if _, err := r.Next(t.Context()); !errors.Is(err, shards.ErrDamaged) || !errors.As(err, &damage) || damage.Stream != "s" || damage.First != r.Position() {
		t.Fatalf("at the damage: %v", err)
	}
	if err := st.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list := h.Damage(); len(list) != 1 {
		t.Fatalf("damage: %v", list)
	}
	if lost, err := st.AcceptDamage(t.Context(), 0); len(lost) != 1 || err != nil {
		t.Fatalf("accepted %v, %v", lost, err)
	}
	if run, err := r.Next(t.Context()); err != nil || string(run.First().Data) != "third" || r.Skipped() != 1 || r.Trimmed() != 0 {
		t.Errorf("%q, %v, skipped %d, trimmed %d", run.First().Data, err, r.Skipped(), r.Trimmed())
	}
}

// flip changes one bit of a text in one of a folder's files.
func flip(t *testing.T, dir, text string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			if i+len(text) <= len(b) && string(b[i:i+len(text)]) == text {
				b[i] ^= 1
				if err := os.WriteFile(name, b, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
		}
	}
	t.Fatalf("%q is in no file of %s", text, dir)
}

// TestLostFolder removes a stream's records: it is not served as if it were empty.
func TestLostFolder(t *testing.T) {
	dir := t.TempDir()
	h := openHouse(t, dir)
	lost, _, err := h.Create(t.Context(), shards.Config{Name: "lost"})
	if err != nil {
		t.Fatal(err)
	}
	h.close(t)
	if err := os.RemoveAll(filepath.Join(h.streams(), lost.ID)); err != nil {
		t.Fatal(err)
	}
	h = openHouse(t, dir)
	defer h.close(t)
	d, err := h.Describe(t.Context(), "lost")
	if err != nil || d.Status != shards.StatusFailed {
		t.Errorf("a stream without its folder is %s, %v", d.Status, err)
	}
	if err := h.Delete(t.Context(), "lost"); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, created, err := h.Create(ctx, shards.Config{Name: "lost"}); err != nil || !created {
		t.Errorf("created anew: %v, %v", created, err)
	}
}
