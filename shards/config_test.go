package shards

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmill/shardmill/sdk/record"
)

var testNow = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func TestConfig(t *testing.T) {
	c, err := Config{Name: "s"}.normalized()
	want := Config{Name: "s", Shards: 1, Retention: 24 * time.Hour, MaxRecordBytes: 1 << 20, Mode: Provisioned}
	if diff := cmp.Diff(want, c); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if c, err := (Config{Name: "s", Mode: OnDemand}).normalized(); err != nil || c.Shards != 4 {
		t.Errorf("on demand: %d shards, %v", c.Shards, err)
	}
	for _, good := range []Config{
		{Name: strings.Repeat("x", 128), Shards: 1000, Retention: 365 * 24 * time.Hour, MaxRecordBytes: 10 << 20},
		{Name: "A_b.c-9", Shards: 1, Retention: time.Hour, MaxRecordBytes: 1 << 10},
		{Name: "s", Mode: OnDemand, Shards: 7, Limits: LimitsAWS, Tags: map[string]string{"k": ""}},
	} {
		if _, err := good.normalized(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, bad := range []struct {
		c     Config
		field string
		says  []string
	}{
		{Config{}, "name", []string{`""`, "128"}},
		{Config{Name: strings.Repeat("x", 129)}, "name", []string{"…", "1 to 128"}},
		{Config{Name: "a b"}, "name", []string{`"a b"`}},
		{Config{Name: "a/b"}, "name", nil},
		{Config{Name: ".."}, "name", nil},
		{Config{Name: "é"}, "name", nil},
		{Config{Name: "\xff"}, "name", nil},
		{Config{Name: "s", Shards: -1}, "shards", []string{"-1", "1 to 1000"}},
		{Config{Name: "s", Shards: 1001}, "shards", []string{"1001"}},
		{Config{Name: "s", Retention: time.Hour - 1}, "retention", []string{"1h to 365d"}},
		{Config{Name: "s", Retention: -time.Hour}, "retention", nil},
		{Config{Name: "s", Retention: 366 * 24 * time.Hour}, "retention", nil},
		{Config{Name: "s", Retention: time.Hour + time.Microsecond}, "retention", []string{"milliseconds"}},
		{Config{Name: "s", MaxRecordBytes: 1<<10 - 1}, "maxRecordBytes", []string{"1023", "1024 to 10485760"}},
		{Config{Name: "s", MaxRecordBytes: 10<<20 + 1}, "maxRecordBytes", nil},
		{Config{Name: "s", Mode: "odd"}, "mode", []string{"odd", "on-demand"}},
		{Config{Name: "s", Limits: "odd"}, "limits", []string{"odd", "aws"}},
		{Config{Name: "s", Tags: map[string]string{"": "v"}}, "tags", []string{"1 to 128"}},
	} {
		_, err := bad.c.normalized()
		checkField(t, err, bad.field, bad.says...)
	}
}

// checkField wants a FieldError about a field that says all of the texts.
func checkField(t *testing.T, err error, field string, says ...string) {
	t.Helper()
	var f *FieldError
	if !errors.Is(err, ErrInvalid) || !errors.As(err, &f) || f.Field != field {
		t.Errorf("want an error about %s: %v", field, err)
		return
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error does not say %q: %v", s, err)
		}
	}
}

func TestCheckRecord(t *testing.T) {
	for name, good := range map[string]record.Record{
		"shortest":         {Key: []byte("k")},
		"longest key":      {Key: []byte(strings.Repeat("k", 256))},
		"longest in bytes": {Key: []byte(strings.Repeat("😀", 256))},
		"longest data":     {Key: []byte("k"), Data: make([]byte, 2048)},
		"control key":      {Key: []byte{0}},
	} {
		if err := checkRecord(&good, 2048); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, bad := range map[string]struct {
		r     record.Record
		field string
		says  []string
	}{
		"no key":        {record.Record{}, "partitionKey", []string{"0 characters", "1 to 256"}},
		"257":           {record.Record{Key: []byte(strings.Repeat("k", 257))}, "partitionKey", []string{"257 characters"}},
		"257 wide":      {record.Record{Key: []byte(strings.Repeat("ü", 257))}, "partitionKey", []string{"257 characters"}},
		"not UTF-8":     {record.Record{Key: []byte("a\xff")}, "partitionKey", []string{"UTF-8"}},
		"long data":     {record.Record{Key: []byte("k"), Data: make([]byte, 2049)}, "data", []string{"2049 bytes", "2048"}},
		"short hash":    {record.Record{Key: []byte("k"), ExplicitHash: make([]byte, 15)}, "explicitHashKey", []string{"15 bytes", "16"}},
		"hash of nones": {record.Record{Key: []byte("k"), ExplicitHash: []byte{}}, "explicitHashKey", nil},
	} {
		t.Run(name, func(t *testing.T) { checkField(t, checkRecord(&bad.r, 2048), bad.field, bad.says...) })
	}
}
