package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// TestStreams walks a stream's life: made, made again, refused in another shape,
// listed, described, deleted.
func TestStreams(t *testing.T) {
	h, ctx := boot(t), t.Context()
	config := StreamConfig{Shards: 4, Retention: Duration(48 * time.Hour), MaxRecord: 2 << 20}
	s, created, err := h.CreateStream(ctx, "flights", config)
	if err != nil || !created || s.ShardCount != 4 || len(s.Shards) != 4 || s.Retention != config.Retention || s.MaxRecord != config.MaxRecord {
		t.Fatalf("created %v, %+v, %v", created, s, err)
	}
	if s.Shards[3].ID != "shardId-000000000003" || s.Shards[3].EndHash != "340282366920938463463374607431768211455" || s.Shards[0].StartHash != "0" {
		t.Errorf("shards are %+v", s.Shards)
	}
	if again, created, err := h.CreateStream(ctx, "flights", config); err != nil || created || again.ID != s.ID {
		t.Errorf("the same again: created %v, %v, %v", created, again.ID, err)
	}
	_, _, err = h.CreateStream(ctx, "flights", StreamConfig{Shards: 5})
	if p := asProblem(t, err); p.Status != 409 || p.Kind() != KindConflict {
		t.Errorf("another shape: %+v", p)
	}
	list, err := h.Streams(ctx)
	if err != nil || len(list) != 1 || list[0].Name != "flights" || list[0].Shards != nil || list[0].ShardCount != 4 {
		t.Errorf("list is %+v, %v", list, err)
	}
	if err := h.DeleteStream(ctx, "flights"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{h.DeleteStream(ctx, "flights"), second(h.Stream(ctx, "flights"))} {
		if p := asProblem(t, err); p.Status != 404 || p.Kind() != KindStreamNotFound {
			t.Errorf("after its deletion: %+v", p)
		}
	}
}

// TestUpdateStream changes a stream's settings one by one and both at once.
func TestUpdateStream(t *testing.T) {
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 2)
	week, large := Duration(7*24*time.Hour), Size(2<<20)
	for _, change := range []StreamChange{{Retention: &week}, {}, {MaxRecord: &large}, {Retention: &week, MaxRecord: &large}} {
		s, err := h.UpdateStream(ctx, "s", change)
		if err != nil || s.Retention != week || s.ShardCount != 2 {
			t.Errorf("%+v: %+v, %v", change, s, err)
		}
	}
	if s, err := h.Stream(ctx, "s"); err != nil || s.Retention != week || s.MaxRecord != large {
		t.Errorf("%+v, %v", s, err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestPutJSON puts records in each form and reads the same bytes.
func TestPutJSON(t *testing.T) {
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 2)
	text := "tëxt\nof two lines"
	empty := ""
	records := []PutRecord{
		{PartitionKey: "a", Data: []byte{0, 255, 1}},
		{PartitionKey: "b", Text: &text},
		{PartitionKey: "c", JSON: jsontext.Value("{\"n\":\n 1.50}")},
		{PartitionKey: "d", Text: &empty},
		{PartitionKey: "e", Data: []byte{}},
		{PartitionKey: "f", JSON: jsontext.Value("null"), ExplicitHashKey: "340282366920938463463374607431768211455"},
		{PartitionKey: "ключ", Text: &text},
		{PartitionKey: strings.Repeat("k", 257), Text: &text},
	}
	answer, err := h.Put(ctx, "s", records)
	if err != nil || answer.Put != 7 || answer.Failed != 1 || len(answer.Results) != 8 {
		t.Fatalf("%+v, %v", answer, err)
	}
	if r := answer.Results[7]; r.Error != KindInvalidField || !strings.Contains(r.Message, "256") || r.Sequence != 0 {
		t.Errorf("the key of 257 characters: %+v", r)
	}
	if r := answer.Results[5]; r.Shard != "shardId-000000000001" {
		t.Errorf("the highest hash key is in %s", r.Shard)
	}
	got := map[string]Record{}
	for _, r := range h.all(t, "s", ReadOptions{}) {
		got[r.PartitionKey] = r
	}
	for i, want := range [][]byte{{0, 255, 1}, []byte(text), []byte(`{"n":1.50}`), {}, {}, []byte("null"), []byte(text)} {
		r := got[records[i].PartitionKey]
		if !bytes.Equal(r.Bytes(), want) {
			t.Errorf("%s: %q, want %q", records[i].PartitionKey, r.Bytes(), want)
		}
		if r.Shard != answer.Results[i].Shard || r.Sequence != answer.Results[i].Sequence || time.Since(r.Arrival) > time.Minute {
			t.Errorf("%s: read %+v, put %+v", records[i].PartitionKey, r, answer.Results[i])
		}
	}
	if r := got["a"]; r.Data == nil {
		t.Errorf("bytes are given as %+v", r)
	}
	if r := got["c"]; r.JSON == nil {
		t.Errorf("JSON is given as %+v", r)
	}
	if r := got["d"]; r.Text == nil {
		t.Errorf("empty data is given as %+v", r)
	}
}

// TestPutJSONVerbatim checks that a json value is stored as it is written, and
// read on one line.
func TestPutJSONVerbatim(t *testing.T) {
	h := boot(t)
	h.stream(t, "s", 1)
	status, body := h.send(t, "POST", "/v1/streams/s/records", typeJSON, "{\"records\":[{\"partitionKey\":\"k\",\"json\":{ \"a\" :\n\"\\u0041\" }}]}")
	if status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	if _, body = h.send(t, "GET", "/v1/streams/s/records", "", ""); !strings.Contains(body, `"json":{ "a" : "\u0041" }}`+"\n") {
		t.Errorf("read %s", body)
	}
	st, err := h.store.Stream("s")
	if err != nil {
		t.Fatal(err)
	}
	reader, err := st.Reader(0, shards.Start{})
	if err != nil {
		t.Fatal(err)
	}
	run, err := reader.Next(t.Context())
	if err != nil || string(run.First().Data) != "{ \"a\" :\n\"\\u0041\" }" {
		t.Errorf("stored %q, %v", run.First().Data, err)
	}
}

// TestPutBatch puts a raw record batch, with and without results, and one that
// is damaged.
func TestPutBatch(t *testing.T) {
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 3)
	var b record.Builder
	for i := range 100 {
		if err := b.Append(record.Record{Key: fmt.Appendf(nil, "key-%d", i), Data: binary.LittleEndian.AppendUint64(nil, uint64(i))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Append(record.Record{Key: bytes.Repeat([]byte("k"), 257)}); err != nil {
		t.Fatal(err)
	}
	batch := slices.Clone(b.Finish())
	answer, err := h.PutBatch(ctx, "s", batch, false)
	if err != nil || answer.Put != 100 || answer.Failed != 1 || answer.Results != nil || len(answer.Failures) != 1 || answer.Failures[0].Line != 101 {
		t.Fatalf("%+v, %v", answer, err)
	}
	if answer, err = h.PutBatch(ctx, "s", batch, true); err != nil || len(answer.Results) != 101 || answer.Failures != nil {
		t.Fatalf("%+v, %v", answer, err)
	}
	batch[len(batch)-1] ^= 1
	_, err = h.PutBatch(ctx, "s", batch, false)
	if p := asProblem(t, err); p.Kind() != KindMalformedBatch {
		t.Errorf("a damaged batch: %+v", p)
	}
	if n := len(h.all(t, "s", ReadOptions{})); n != 200 {
		t.Errorf("%d records are stored, want 200", n)
	}
}

// TestPutLines puts a million bytes of NDJSON over several shards: all of it is
// there, and the lines of a key in their order.
func TestPutLines(t *testing.T) {
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 4)
	const count, keys = 20_000, 37
	var body bytes.Buffer
	for i := range count {
		fmt.Fprintf(&body, "{\"origin\":\"K%d\",\"n\":%d}\r\n", i%keys, i)
		if i%1000 == 0 {
			body.WriteString("  \n\n")
		}
	}
	body.WriteString(`{"origin":"last","n":-1}`)
	size, told := int64(body.Len()), int64(0)
	answer, err := h.PutLines(ctx, "s", &body, LineOptions{Key: "/origin", Results: true, Progress: func(n int64) { told = n }})
	if err != nil || answer.Put != count+1 || answer.Failed != 0 || len(answer.Results) != count+1 {
		t.Fatalf("put %d, failed %d, %d results, %v", answer.Put, answer.Failed, len(answer.Results), err)
	}
	if told != size {
		t.Errorf("progress told of %d bytes, the body has %d", told, size)
	}
	last := map[string]int{}
	seen := 0
	places := map[string]int{}
	for i, r := range answer.Results {
		places[r.Shard+":"+r.Sequence.String()] = i
	}
	for _, shard := range []string{"0", "1", "2", "3"} {
		for _, r := range h.all(t, "s", ReadOptions{Shard: shard}) {
			var n int
			fmt.Sscanf(string(r.JSON[strings.Index(string(r.JSON), `"n":`)+4:]), "%d", &n)
			if n == -1 {
				n = count
			}
			if previous, ok := last[r.PartitionKey]; ok && previous >= n {
				t.Fatalf("key %s: %d comes behind %d", r.PartitionKey, n, previous)
			}
			last[r.PartitionKey] = n
			if place := places[r.Shard+":"+r.Sequence.String()]; place != n {
				t.Fatalf("record %d has the result of %d", n, place)
			}
			seen++
		}
	}
	if seen != count+1 || len(last) != keys+1 {
		t.Errorf("%d records of %d keys are stored", seen, len(last))
	}
}

// TestPutLinesDecidesEach mixes good lines and every kind of bad one.
func TestPutLinesDecidesEach(t *testing.T) {
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 1)
	body := strings.Join([]string{
		`{"k":"a"}`,
		`{"k":"b"`,       // 2: not JSON
		`{"k":null}`,     // 3: null
		`{"x":1}`,        // 4: no key
		`{"k":{"o":1}}`,  // 5: an object
		``,               // 6: blank
		`{"k":17}`,       // a number
		`{"k":"\u00e4"}`, // an escaped key
		`{"k":""}`,       // 9: an empty key
		`{"k":"` + strings.Repeat("x", 257) + `"}`,               // 10: too long a key
		`{"k":true,"pad":"` + strings.Repeat("x", 1<<20) + `"}`,  // 11: over the stream's limit
		`{"k":true,"pad":"` + strings.Repeat("x", 11<<20) + `"}`, // 12: over any stream's limit
		"{\"k\":\"\xff\"}", // 13: not UTF-8
		`"z"`,              // 14: not an object
		`{"k":false}`,
	}, "\n")
	answer, err := h.PutLines(ctx, "s", strings.NewReader(body), LineOptions{Key: "/k"})
	if err != nil || answer.Put != 4 || answer.Failed != 10 {
		t.Fatalf("%+v, %v", answer, err)
	}
	want := map[int64]Kind{
		2: KindMalformedLine, 3: KindMissingKey, 4: KindMissingKey, 5: KindMissingKey, 9: KindInvalidField,
		10: KindInvalidField, 11: KindInvalidField, 12: KindInvalidField, 13: KindMalformedLine, 14: KindMissingKey,
	}
	for i, f := range answer.Failures {
		if want[f.Line] != f.Error || f.Message == "" {
			t.Errorf("failure %d: %+v", i, f)
		}
		if i > 0 && answer.Failures[i-1].Line >= f.Line {
			t.Errorf("failures are not in the order of lines")
		}
	}
	var keys []string
	for _, r := range h.all(t, "s", ReadOptions{}) {
		keys = append(keys, r.PartitionKey)
	}
	slices.Sort(keys)
	if want := []string{"17", "a", "false", "ä"}; !slices.Equal(keys, want) {
		t.Errorf("keys are %q, want %q", keys, want)
	}

	_, err = h.PutLines(ctx, "s", strings.NewReader("{\n[\n"), LineOptions{})
	if p := asProblem(t, err); p.Kind() != KindRecordsRefused || p.Status != 400 || p.Put == nil || p.Put.Failed != 2 {
		t.Errorf("only bad lines: %+v", p)
	}
	if answer, err = h.PutLines(ctx, "s", strings.NewReader(""), LineOptions{}); err != nil || answer.Put+answer.Failed != 0 {
		t.Errorf("an empty body: %+v, %v", answer, err)
	}
	if answer, err = h.PutLines(ctx, "s", strings.NewReader("1\n2\n"), LineOptions{}); err != nil || answer.Put != 2 {
		t.Errorf("random keys: %+v, %v", answer, err)
	}
}

// TestRead reads from every position, with a limit, of one shard and of all.
func TestRead(t *testing.T) {
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 3)
	for i := range 30 {
		text := strconv.Itoa(i)
		if _, err := h.Put(ctx, "s", []PutRecord{{PartitionKey: text, Text: &text}}); err != nil {
			t.Fatal(err)
		}
	}
	all := h.all(t, "s", ReadOptions{})
	if len(all) != 30 {
		t.Fatalf("%d records", len(all))
	}
	for i := range all {
		if i > 0 && all[i].Arrival.Before(all[i-1].Arrival) {
			t.Errorf("record %d arrived before the one in front of it", i)
		}
	}
	if got := h.all(t, "s", ReadOptions{Limit: 7}); len(got) != 7 || got[6].Sequence != all[6].Sequence {
		t.Errorf("limit: %d records", len(got))
	}
	if got := h.all(t, "s", ReadOptions{From: "newest"}); len(got) != 0 {
		t.Errorf("newest: %d records", len(got))
	}
	if got := h.all(t, "s", ReadOptions{From: all[20].Arrival.Format(time.RFC3339Nano)}); len(got) != 10 {
		t.Errorf("from the time of record 20: %d records", len(got))
	}
	one := h.all(t, "s", ReadOptions{Shard: all[0].Shard})
	if got := h.all(t, "s", ReadOptions{Shard: all[0].Shard, From: one[2].Sequence.String()}); len(got) != len(one)-2 || got[0].Sequence != one[2].Sequence {
		t.Errorf("from a sequence number: %d records of %d", len(got), len(one))
	}
}

// TestFollow follows all shards while records come, until the client ends it.
func TestFollow(t *testing.T) {
	h := boot(t)
	h.stream(t, "s", 3)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := map[string]bool{}
	put := func(i int) {
		text := strconv.Itoa(i)
		if _, err := h.Put(ctx, "s", []PutRecord{{PartitionKey: text, Text: &text}}); err != nil {
			t.Error(err)
		}
	}
	put(0)
	for r, err := range h.Records(ctx, "s", ReadOptions{Follow: true}) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the follow ended with %v", err)
			}
			break
		}
		got[r.PartitionKey] = true
		if len(got) == 20 {
			cancel()
			continue
		}
		put(len(got))
	}
	if len(got) != 20 {
		t.Errorf("followed %d records", len(got))
	}
}

// TestFollowLimit ends a follow at its limit.
func TestFollowLimit(t *testing.T) {
	h := boot(t)
	h.stream(t, "s", 1)
	if _, err := h.PutLines(t.Context(), "s", strings.NewReader("1\n2\n3\n4\n5\n"), LineOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := h.all(t, "s", ReadOptions{Follow: true, Limit: 3}); len(got) != 3 {
		t.Errorf("%d records", len(got))
	}
}

// TestEvents reads records as server-sent events, and goes on behind the last
// one as a browser does.
func TestEvents(t *testing.T) {
	h := boot(t)
	h.stream(t, "s", 1)
	if _, err := h.PutLines(t.Context(), "s", strings.NewReader("1\n2\n"), LineOptions{}); err != nil {
		t.Fatal(err)
	}
	get := func(last string) string {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+"/v1/streams/s/records?limit=2", nil)
		req.Header.Set("Accept", "text/event-stream")
		req.Header.Set("Last-Event-ID", last)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if kind := resp.Header.Get("Content-Type"); kind != typeEvents {
			t.Errorf("Content-Type is %s", kind)
		}
		var b bytes.Buffer
		b.ReadFrom(resp.Body)
		return b.String()
	}
	events := strings.Split(strings.TrimSuffix(get(""), "\n\n"), "\n\n")
	if len(events) != 2 || !strings.HasPrefix(events[0], "id: shardId-000000000000:") || !strings.Contains(events[0], "\ndata: {") {
		t.Fatalf("events are %q", events)
	}
	id, _, _ := strings.Cut(strings.TrimPrefix(events[0], "id: "), "\n")
	if rest := get(id); rest != events[1]+"\n\n" {
		t.Errorf("behind %s: %q", id, rest)
	}
	// A record of another shard, or nothing that is one, says nothing of this shard: none of its records is left out.
	for _, other := range []string{strings.Replace(id, "shardId-000000000000", "shardId-000000000007", 1), "x", "shardId-000000000000:x"} {
		if all := get(other); strings.Count(all, "data: ") != 2 {
			t.Errorf("behind %s: %q", other, all)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestDamageVerbs asks for the damage of a stream that has none.
func TestDamageVerbs(t *testing.T) {
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 1)
	if damage, err := h.Damage(ctx, "s"); err != nil || len(damage) != 0 {
		t.Errorf("%v, %v", damage, err)
	}
	if lost, err := h.AcceptDamage(ctx, "s", "shardId-000000000000"); err != nil || len(lost) != 0 {
		t.Errorf("%v, %v", lost, err)
	}
	_, err := h.AcceptDamage(ctx, "s", "shardId-000000000009")
	if p := asProblem(t, err); p.Kind() != KindShardNotFound {
		t.Errorf("an unknown shard: %+v", p)
	}
}
