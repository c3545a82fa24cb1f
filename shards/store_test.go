package shards

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"github.com/shardmill/shardmill/sdk/record"
)

// rig is a store on in-memory logs and an in-memory table, which outlive it.
// create makes a stream and returns its handle.
// memLog is the log under a stream.
// put puts records with the given keys, which are their data too.
func TestCreateDescribeList(t *testing.T) {
	r := newRig(t)
	before := time.Now().Add(-time.Millisecond)
	d, created, err := r.Create(t.Context(), Config{Name: "b", Shards: 2, Retention: 2 * time.Hour, MaxRecordBytes: 2048})
	if err != nil || !created {
		t.Fatalf("%v, %v", created, err)
	}
	if _, err := ulid.ParseStrict(d.ID); err != nil {
		t.Errorf("ID %q: %v", d.ID, err)
	}
	if d.Created.Before(before) || d.Created.After(time.Now()) || d.Created.Location() != time.UTC {
		t.Errorf("created %v", d.Created)
	}
	half := Hash{1 << 63, 0}
	want := Description{
		Name: "b", ID: d.ID, Created: d.Created, Retention: 2 * time.Hour, MaxRecordBytes: 2048, Mode: Provisioned, Status: StatusActive,
		Shards: []ShardDescription{
			{ID: 0, Epoch: 1, State: ShardOpen, EndHash: half.previous(), Created: d.Created, Oldest: seq(1, 1), Next: seq(1, 1)},
			{ID: 1, Epoch: 1, State: ShardOpen, StartHash: half, EndHash: MaxHash, Created: d.Created, Oldest: seq(1, 1), Next: seq(1, 1)},
		},
	}
	check := func(got Description, err error) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	check(d, nil)
	check(r.Describe(t.Context(), "b"))
	r.create(t, Config{Name: "a"})
	names := func() (names []string) {
		for _, d := range r.List() {
			names = append(names, d.Name)
		}
		return names
	}
	if got := names(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("listed %q", got)
	}

	results := put(t, r.stream(t, "b"), "k", "k", "k")
	at := results[0].Shard
	want.Shards[at].Next += 3
	got, err := r.Describe(t.Context(), "b")
	if last := got.Shards[at].LastArrival; last.Before(before) || last.After(time.Now()) {
		t.Errorf("last arrival %v", last)
	}
	want.Shards[at].LastArrival = got.Shards[at].LastArrival
	check(got, err)
	r.reopen(t)
	check(r.Describe(t.Context(), "b")) // the last arrival comes from the log now
	if got := names(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("listed %q after a restart", got)
	}
}

func TestCreateAgain(t *testing.T) {
	r := newRig(t)
	c := Config{Name: "s", Shards: 3}
	r.create(t, c)
	first, _ := r.Describe(t.Context(), "s")
	for _, same := range []Config{c, {Name: "s", Shards: 3, Retention: DefaultRetention, MaxRecordBytes: DefaultMaxRecordBytes}} {
		d, created, err := r.Create(t.Context(), same)
		if diff := cmp.Diff(first, d); created || err != nil || diff != "" {
			t.Errorf("%v %v %s", created, err, diff)
		}
	}
	for says, other := range map[string]Config{
		"shards 3 (not 1)":                         {Name: "s"},
		"retention 24h (not 1h)":                   {Name: "s", Shards: 3, Retention: time.Hour},
		"maxRecordBytes 1048576 (not 5000)":        {Name: "s", Shards: 3, MaxRecordBytes: 5000},
		"mode provisioned (not on-demand)":         {Name: "s", Mode: OnDemand},
		"limits none (not aws)":                    {Name: "s", Shards: 3, Limits: LimitsAWS},
		"shards 3 (not 4), retention 24h (not 3d)": {Name: "s", Shards: 4, Retention: 72 * time.Hour},
	} {
		if _, created, err := r.Create(t.Context(), other); !errors.Is(err, ErrExists) || created || !strings.HasSuffix(err.Error(), "exists already with "+says) {
			t.Errorf("%+v: %v, %v; want %q", other, created, err, says)
		}
	}
	_, _, err := r.Create(t.Context(), Config{Name: "bad name"})
	checkField(t, err, "name")
	if n := len(r.List()); n != 1 {
		t.Errorf("%d streams", n)
	}
}

func TestConcurrentCreateMakesOne(t *testing.T) {
	r := newRig(t)
	var made int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			_, created, err := r.Create(context.Background(), Config{Name: "s"})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if created {
				made++
			}
		})
	}
	wg.Wait()
	entries, err := os.ReadDir(r.dir)
	if made != 1 || len(entries) != 1 || err != nil {
		t.Errorf("created %d times, %d folders, %v", made, len(entries), err)
	}
}

func TestDelete(t *testing.T) {
	r := newRig(t)
	st := r.create(t, Config{Name: "s"})
	put(t, st, "k")
	reader, err := st.Reader(0, Start{Kind: Newest})
	if err != nil {
		t.Fatal(err)
	}
	blocked := make(chan error)
	go func() {
		_, err := reader.Next(context.Background())
		blocked <- err
	}()
	if err := r.Delete(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	if err := <-blocked; !errors.Is(err, ErrNotFound) {
		t.Errorf("the blocked reader got %v", err)
	}
	again := r.create(t, Config{Name: "s"})
	_, saveErr := st.SaveCheckpoint(t.Context(), Checkpoint{Consumer: "c"})
	_, putErr := st.Put(t.Context(), []record.Record{{Key: []byte("k")}}, nil)
	_, runErr := st.PutRun(t.Context(), runOf(t, "x"), nil)
	_, readErr := reader.Next(t.Context())
	_, readerErr := st.Reader(0, Start{})
	_, damageErr := st.Damage()
	_, acceptErr := st.AcceptDamage(t.Context(), 0)
	_, routeErr := st.ShardOf([]byte("k"))
	_, describeErr := r.Describe(t.Context(), "gone")
	for what, err := range map[string]error{
		"SaveCheckpoint": saveErr, "Put": putErr, "PutRun": runErr, "Next": readErr, "Reader": readerErr, "Damage": damageErr,
		"AcceptDamage": acceptErr, "ShardOf": routeErr, "Scrub": st.Scrub(t.Context()), "Describe": describeErr,
		"DeleteCheckpoints": st.DeleteCheckpoints(t.Context(), "c"), "Delete": r.Delete(t.Context(), "gone"),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, ok := st.Checkpoint("c", 0); ok || reader.Behind() != 0 {
		t.Error("a deleted stream has a checkpoint or a reader behind")
	}
	if _, err := os.Stat(r.folder(st.ID())); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the files are still there: %v", err)
	}
	if st.ID() == again.ID() {
		t.Error("the new stream has the old one's ID")
	}
	if got := put(t, again, "k")[0].Sequence; got != seq(1, 1) {
		t.Errorf("the new stream begins at %d", got)
	}
}

func TestDeleteUnderLoad(t *testing.T) {
	r := newRig(t)
	st := r.create(t, Config{Name: "s", Shards: 4})
	var wg sync.WaitGroup
	running := make(chan struct{}, 16)
	for i := range 8 {
		wg.Go(func() {
			for {
				_, err := st.Put(context.Background(), []record.Record{{Key: []byte{byte('a' + i)}}}, nil)
				if err != nil {
					if !errors.Is(err, ErrNotFound) {
						t.Error(err)
					}
					return
				}
				select {
				case running <- struct{}{}:
				default:
				}
			}
		})
	}
	for range cap(running) {
		<-running
	}
	if err := r.Delete(t.Context(), "s"); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

func TestStoreClose(t *testing.T) {
	r := newRig(t)
	st := r.create(t, Config{Name: "s"})
	reader, err := st.Reader(0, Start{})
	if err != nil {
		t.Fatal(err)
	}
	blocked := make(chan error)
	go func() {
		_, err := reader.Next(context.Background())
		blocked <- err
	}()
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, _, createErr := r.Create(t.Context(), Config{Name: "t"})
	_, putErr := st.Put(t.Context(), []record.Record{{Key: []byte("k")}}, nil)
	_, streamErr := r.Stream("unknown")
	for what, err := range map[string]error{
		"Next": <-blocked, "Create": createErr, "Put": putErr, "Delete": r.Delete(t.Context(), "s"), "Stream": streamErr,
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// crashes ends the process, as far as the store can tell, after a number of steps: from then on nothing it
// does has an effect.
// TestCrashDuringCreate crashes after every step of a creation and looks at what the next start makes of it.
// TestCrashDuringDelete leaves the files of a deleted stream behind.
// checkConsistent wants every stream to be active and whole, and every folder to be a stream's.
// TestCreateTakesBack fails the steps of a creation one by one, on a host that goes on.
// metric is the value of a counter or gauge, of one stream if it has that label.
