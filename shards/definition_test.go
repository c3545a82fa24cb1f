package shards

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testDefinition(shards int) definition {
	d := newDefinition(Config{Name: "s", Shards: shards, Retention: 36 * time.Hour, MaxRecordBytes: 5000}, testNow)
	d.State = stateActive
	return d
}

// resharded is a stream whose shard 0 was split into 2 and 3, and 3 merged with 1 into 4.
func resharded() definition {
	d := testDefinition(2)
	quarter := Hash{1 << 62, 0}
	closed := testNow.Add(time.Minute)
	d.Shards[0].State, d.Shards[0].Closed = ShardClosed, &closed
	d.Shards[1].State, d.Shards[1].Closed = ShardClosed, &closed
	d.Shards = append(d.Shards,
		shardDefinition{ID: 2, Epoch: 2, EndHash: quarter.previous(), Parents: []ShardID{0}, State: ShardOpen, Created: closed},
		shardDefinition{ID: 3, Epoch: 2, StartHash: quarter, EndHash: d.Shards[0].EndHash, Parents: []ShardID{0}, State: ShardClosed, Created: closed},
		shardDefinition{ID: 4, Epoch: 3, StartHash: quarter, EndHash: MaxHash, Parents: []ShardID{3, 1}, State: ShardOpen, Created: closed},
	)
	return d
}

func TestDefinitionRoundTrip(t *testing.T) {
	for _, d := range []definition{testDefinition(1), testDefinition(1000), resharded()} {
		got, err := decodeDefinition("s", d.encode())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d, got); diff != "" {
			t.Error(diff)
		}
	}
	if n := len(new(definition).encode()); n == 0 {
		t.Error("nothing encoded")
	}
	d := testDefinition(1000)
	if n := len(d.encode()); n > 512<<10 {
		t.Errorf("a definition of 1,000 shards takes %d bytes", n)
	}
}

func TestReshardedDefinition(t *testing.T) {
	d := resharded()
	rt, err := newRouting(d.Shards)
	if err != nil {
		t.Fatal(err)
	}
	for h, want := range map[Hash]ShardID{{}: 2, {1<<62 - 1, 1<<64 - 1}: 2, {1 << 62, 0}: 4, MaxHash: 4} {
		if got := d.Shards[rt.slot(h)].ID; got != want {
			t.Errorf("%v goes to %v, want %v", h, got, want)
		}
	}
	for id, want := range map[ShardID][]ShardID{0: {2, 3}, 1: {4}, 3: {4}, 4: nil} {
		if diff := cmp.Diff(want, d.children(id)); diff != "" {
			t.Errorf("children of %v: %s", id, diff)
		}
	}
	if i, ok := d.find(4); i != 4 || !ok {
		t.Errorf("shard 4 is at %d, %v", i, ok)
	}
	if _, ok := d.find(5); ok {
		t.Error("found a shard that is not there")
	}
	if !d.hasShape(Config{Name: "s", Shards: 2, Retention: 36 * time.Hour, MaxRecordBytes: 5000}) {
		t.Error("two open shards are not the shape of two shards")
	}
}

func TestDefinitionRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*definition)
		says  string
	}{
		"newer":          {func(d *definition) { d.Format = 2 }, "format 2"},
		"other name":     {func(d *definition) { d.Name = "other" }, `"other"`},
		"no id":          {func(d *definition) { d.ID = "../../etc" }, "ID"},
		"state":          {func(d *definition) { d.State = "odd" }, "odd"},
		"no limits":      {func(d *definition) { d.RetentionMillis = 0 }, "limits"},
		"shard state":    {func(d *definition) { d.Shards[1].State = "" }, "state"},
		"order":          {func(d *definition) { d.Shards[1].ID = 0 }, "behind"},
		"gap":            {func(d *definition) { d.Shards[1].StartHash.Lo++ }, "next to divide"},
		"overlap":        {func(d *definition) { d.Shards[1].StartHash.Hi-- }, "next to divide"},
		"backwards":      {func(d *definition) { d.Shards[1].EndHash = Hash{} }, "next to divide"},
		"short":          {func(d *definition) { d.Shards[1].EndHash.Lo-- }, "without a shard"},
		"no shards":      {func(d *definition) { d.Shards = nil }, "without a shard"},
		"all are closed": {func(d *definition) { d.Shards[0].State, d.Shards[1].State = ShardClosed, ShardClosed }, "without a shard"},
		"around": {func(d *definition) {
			d.Shards[1].EndHash = MaxHash
			d.Shards = append(d.Shards, shardDefinition{ID: 9, State: ShardOpen, EndHash: MaxHash})
		}, "next to divide"},
	} {
		t.Run(name, func(t *testing.T) {
			d := testDefinition(2)
			c.spoil(&d)
			if _, err := decodeDefinition("s", d.encode()); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error does not say %q: %v", c.says, err)
			}
		})
	}
	if _, err := decodeDefinition("s", []byte("{")); err == nil {
		t.Error("half a definition was read")
	}
}
