package shards

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmill/shardmill/internal/catalog"
)

func testDefinition(shards int) definition {
	d := newDefinition(Config{Name: "s", Shards: shards, Retention: 36 * time.Hour, MaxRecordBytes: 5000, Mode: Provisioned}, testNow)
	d.State = stateActive
	return d
}

// resharded is a stream whose shard 0 was split into 2 and 3, and 3 merged with 1 into 4.
func resharded() definition {
	d := testDefinition(2)
	quarter := Hash{1 << 62, 0}
	closed := testNow.Add(time.Minute)
	for i := range d.Shards {
		s := &d.Shards[i]
		s.State, s.Closed, s.Last = ShardClosed, &closed, seq(1, uint64(7*i))
	}
	d.NextShard = 5
	d.Shards = append(d.Shards,
		shardDefinition{ID: 2, Epoch: 2, EndHash: quarter.previous(), Parents: []ShardID{0}, State: ShardOpen, Created: closed},
		shardDefinition{ID: 3, Epoch: 2, StartHash: quarter, EndHash: d.Shards[0].EndHash, Parents: []ShardID{0}, State: ShardClosed, Created: closed,
			Closed: &closed, Last: seq(2, 0)},
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
		if diff := cmp.Diff(d, got, cmp.AllowUnexported(definition{})); diff != "" {
			t.Error(diff)
		}
	}
	if n := len(new(definition).encode()); n == 0 {
		t.Error("nothing encoded")
	}
	d := testDefinition(1000)
	d.Tags, d.Attributes = map[string]string{"k": "v"}, map[string]json.RawMessage{"a": []byte(`{"b":1}`)}
	d.Consumers = []Consumer{{Name: "c", Created: testNow, Tags: map[string]string{"k": "v"}}, {Name: "d", Created: testNow}}
	d.Mode, d.Limits = OnDemand, LimitsAWS
	got, err := decodeDefinition("s", d.encode())
	if diff := cmp.Diff(d, got, cmp.AllowUnexported(definition{})); diff != "" || err != nil {
		t.Error(err, diff)
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
	if len(d.differences(Config{Name: "s", Shards: 2, Retention: 36 * time.Hour, MaxRecordBytes: 5000, Mode: Provisioned})) > 0 {
		t.Error("two open shards are not the shape of two shards")
	}
}

func TestDefinitionRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*definition)
		says  string
	}{
		"other name":     {func(d *definition) { d.Name = "other" }, `"other"`},
		"no id":          {func(d *definition) { d.ID = "../../etc" }, "ID"},
		"state":          {func(d *definition) { d.State = "odd" }, "odd"},
		"no limits":      {func(d *definition) { d.RetentionMillis = 0 }, "limits"},
		"mode":           {func(d *definition) { d.Mode = "odd" }, "odd"},
		"rate limits":    {func(d *definition) { d.Limits = "odd" }, "odd"},
		"order":          {func(d *definition) { d.Shards[1].ID = 0 }, "behind"},
		"next shard":     {func(d *definition) { d.NextShard = 1 }, "next new shard"},
		"gap":            {func(d *definition) { d.Shards[1].StartHash.Lo++ }, "next to divide"},
		"overlap":        {func(d *definition) { d.Shards[1].StartHash.Hi-- }, "next to divide"},
		"backwards":      {func(d *definition) { d.Shards[1].EndHash = Hash{} }, "next to divide"},
		"short":          {func(d *definition) { d.Shards[1].EndHash.Lo-- }, "without a shard"},
		"no shards":      {func(d *definition) { d.Shards = nil }, "without a shard"},
		"all are closed": {func(d *definition) { d.Shards[0].Closed, d.Shards[1].Closed = &testNow, &testNow }, "without a shard"},
		"around": {func(d *definition) {
			d.Shards[1].EndHash = MaxHash
			d.NextShard = 10
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
	for text, says := range map[string]string{
		`{`: "cannot be read", `{"format":3}`: "format 3", `{"format":1,"shards":7}`: "cannot be read", `{"format":2,"shards":7}`: "cannot be read",
		strings.Replace(format1, `"open"`, `"odd"`, 1): "unknown state",
	} {
		if _, err := decodeDefinition("s", []byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error does not say %q: %v", text, says, err)
		}
	}
}

// format1 is a definition as the first release wrote it.
const format1 = `{"format":1,"name":"s","id":"01KAKQ8Y0000000000000000VV","state":"active","created":"2026-11-21T12:00:00Z",` +
	`"retentionMillis":129600000,"maxRecordBytes":5000,"shards":[` +
	`{"id":"shardId-000000000000","epoch":1,"startHash":"0","endHash":"170141183460469231731687303715884105727","state":"open","created":"2026-11-21T12:00:00Z"},` +
	`{"id":"shardId-000000000001","epoch":1,"startHash":"170141183460469231731687303715884105728","endHash":"340282366920938463463374607431768211455","state":"open","created":"2026-11-21T12:00:00Z"}]}`

func TestFormat1IsRead(t *testing.T) {
	got, err := decodeDefinition("s", []byte(format1))
	want := testDefinition(2)
	want.ID = "01KAKQ8Y0000000000000000VV"
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(definition{})); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

// TestDefinitionFits has as many shards as can be, with the longest numbers, and much else.
func TestDefinitionFits(t *testing.T) {
	d := testDefinition(MaxShards)
	closed := testNow
	last := evenRanges(MaxShards)[MaxShards-1]
	for len(d.Shards) < MaxListedShards {
		d.Shards = append(d.Shards, shardDefinition{
			ID: ShardID(1<<32-10_000) + ShardID(len(d.Shards)), Epoch: 500_000, StartHash: last.start, EndHash: last.end,
			Parents: []ShardID{1<<32 - 1, 1<<32 - 1}, State: ShardClosed, Created: testNow, Closed: &closed, Last: seq(500_000, 1<<40),
		})
	}
	d.Tags = make(map[string]string)
	for i := range MaxTags {
		d.Tags[fmt.Sprint(strings.Repeat("ü", MaxTagKey-2), i)] = strings.Repeat("ü", MaxTagValue)
	}
	if n := len(d.encode()) + MaxAttributeBytes; n > catalog.MaxValueBytes {
		t.Errorf("%d bytes", n)
	}
}
