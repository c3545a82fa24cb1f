package shards

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/sdk/record"
)

// Limits of streams and records, and the defaults of a Config.
const (
	MaxShards             = 1000
	DefaultShards         = 1
	MinRetention          = time.Hour
	MaxRetention          = 365 * 24 * time.Hour
	DefaultRetention      = 24 * time.Hour
	MinRecordBytes        = 1 << 10 // the least that MaxRecordBytes can be set to
	MaxRecordBytes        = 10 << 20
	DefaultMaxRecordBytes = 1 << 20
	MaxNameLength         = 128 // of a stream
	MaxKeyLength          = 256 // of a partition key, in Unicode code points
	OnDemandShards        = 4   // of an on-demand stream when nothing else is asked for

	// MaxListedShards is the most shards that a stream can have, its open ones and the closed ones whose records are
	// still retained together: a definition has to fit into one value of the catalog.
	MaxListedShards = 4000

	defaultCacheBytes    = 64 << 20
	defaultSpareBytes    = 512 << 20
	defaultTrimInterval  = time.Minute
	defaultScrubInterval = 24 * time.Hour
)

// Options of a Store. Dir and Catalog are needed; the zero value of the rest works.
type Options struct {
	Dir          string                // holds one folder per stream, named by the stream's ID; made when absent
	Catalog      *catalog.Catalog      // keeps the definitions, in its table "streams"; must outlive the store
	Logger       *slog.Logger          // nil: nothing is logged
	Registerer   prometheus.Registerer // nil: metrics are counted and not shown
	CacheBytes   int64                 // memory for the newest records of all streams together, and as much for what is read behind them; 0: 64 MiB
	SpareBytes   int64                 // most bytes of dropped segments that are kept to be used again; 0: 512 MiB
	SegmentBytes int64                 // size at which a journal's segment is closed; 0: the journal's default
	TrimInterval time.Duration         // how often expired segments are looked for; 0: one minute
	// ScrubInterval is how long after a scrub of everything the next one begins; 0: 24 hours, negative: never.
	ScrubInterval time.Duration
	Scaling       Scaling // of streams that are on demand
}

// Config is the shape of a stream to create. The zero value of a field means its default.
type Config struct {
	Name           string        // 1 to 128 of a-z A-Z 0-9 _ . -
	Shards         int           // open ones, 1 to 1,000; 0: 1, and 4 on demand
	Retention      time.Duration // 1 hour to 365 days, in whole milliseconds; 0: 24 hours
	MaxRecordBytes int           // most bytes of data a record may have, 1 KiB to 10 MiB; 0: 1 MiB
	Mode           Mode          // who chooses the number of shards; "": provisioned
	Limits         Limits        // what a shard takes; "": whatever the hardware can
	Tags           map[string]string
	Attributes     map[string]json.RawMessage // as of a Change
}

// normalized fills in the defaults and checks the limits. Its error is a *FieldError.
func (c Config) normalized() (Config, error) {
	if err := checkName(c.Name); err != nil {
		return c, err
	}
	c.Mode = cmp.Or(c.Mode, Provisioned)
	if c.Mode == OnDemand {
		c.Shards = cmp.Or(c.Shards, OnDemandShards)
	}
	c.Shards = cmp.Or(c.Shards, DefaultShards)
	c.Retention = cmp.Or(c.Retention, DefaultRetention)
	c.MaxRecordBytes = cmp.Or(c.MaxRecordBytes, DefaultMaxRecordBytes)
	if err := checkShards(c.Shards); err != nil {
		return c, err
	}
	if err := checkRetention(c.Retention); err != nil {
		return c, err
	}
	if err := (&Change{Attributes: c.Attributes}).check(); err != nil {
		return c, err
	}
	set := c.settings()
	return c, set.check()
}

func checkShards(n int) error {
	if n < 1 || n > MaxShards {
		return invalid("shards", strconv.Itoa(n), fmt.Sprintf("1 to %d", MaxShards))
	}
	return nil
}

// settings are what the definition keeps of a normalized config and Update can change.
func (c *Config) settings() settings {
	return settings{
		RetentionMillis: c.Retention.Milliseconds(), MaxRecordBytes: c.MaxRecordBytes,
		Mode: c.Mode, Limits: c.Limits, Tags: maps.Clone(c.Tags), Attributes: withAttributes(nil, c.Attributes, c.Mode),
	}
}

func checkName(name string) error {
	if !isName(name) || name == "." || name == ".." {
		return invalid("name", name, nameLimit()+` (and not "." or "..")`)
	}
	return nil
}

// isName says whether a text has the length and the characters of a name.
func isName(s string) bool {
	ok := len(s) >= 1 && len(s) <= MaxNameLength
	for _, c := range []byte(s) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-')
	}
	return ok
}

func nameLimit() string { return fmt.Sprintf("1 to %d of a-z A-Z 0-9 _ . -", MaxNameLength) }

// checkRecord says whether a record may be put. Its error is a *FieldError.
func checkRecord(r *record.Record, maxBytes int) error {
	switch {
	case len(r.Key) == 0:
		return invalid("partitionKey", "0 characters", keyLimit())
	case len(r.Key) > MaxKeyLength && utf8.RuneCount(r.Key) > MaxKeyLength:
		return invalid("partitionKey", fmt.Sprintf("%d characters", utf8.RuneCount(r.Key)), keyLimit())
	case !utf8.Valid(r.Key):
		return invalid("partitionKey", string(r.Key), "valid UTF-8")
	case len(r.Data) > maxBytes:
		return invalid("data", fmt.Sprintf("%d bytes", len(r.Data)), fmt.Sprintf("at most %d bytes", maxBytes))
	case r.ExplicitHash != nil && len(r.ExplicitHash) != record.HashSize:
		return invalid("explicitHashKey", fmt.Sprintf("%d bytes", len(r.ExplicitHash)), fmt.Sprintf("%d bytes", record.HashSize))
	}
	return nil
}

func keyLimit() string { return fmt.Sprintf("1 to %d characters", MaxKeyLength) }
