package shards

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/shardmill/shardmill/internal/field"
)

// Mode says who chooses the number of a stream's shards.
type Mode string

// The modes.
const (
	Provisioned Mode = "provisioned" // the user, with Split, Merge and Resize
	OnDemand    Mode = "on-demand"   // the store, by the traffic: see Scaling. Split, Merge and Resize are refused
)

// Limits says what each shard of a stream takes.
type Limits string

// The limits.
const (
	Unlimited Limits = ""    // whatever the hardware can
	LimitsAWS Limits = "aws" // 1 MiB and 1,000 records a second, as a shard of Kinesis; more is ErrThrottled
)

// Limits of tags and attributes.
const (
	MaxTags           = 50  // of a stream, and of a consumer
	MaxTagKey         = 128 // Unicode code points, at least 1
	MaxTagValue       = 256 // Unicode code points
	MaxAttributes     = 64
	MaxAttributeBytes = 96 << 10 // of all attributes of a stream, names and values
)

// settings are the part of a definition that Update changes.
type settings struct {
	RetentionMillis int64                      `json:"retentionMillis"`
	MaxRecordBytes  int                        `json:"maxRecordBytes"`
	Mode            Mode                       `json:"mode"`
	Limits          Limits                     `json:"limits,omitempty"`
	Tags            map[string]string          `json:"tags,omitempty"`
	Attributes      map[string]json.RawMessage `json:"attributes,omitempty"`
}

// OnDemandAttribute begins the names of attributes that a stream has only while it is on demand: whoever makes it provisioned removes them.
const OnDemandAttribute = "on-demand."

// Change is what Update changes of a stream. A nil field stays as it is.
type Change struct {
	Retention      *time.Duration
	MaxRecordBytes *int
	Mode           *Mode // the shards stay as they are
	Limits         *Limits
	SetTags        map[string]string
	RemoveTags     []string // keys; those that are not there are ignored; removed before SetTags are set
	// Attributes are settings that mean nothing to this package: an edge keeps them with the stream. Each value is JSON;
	// null removes the attribute. One of OnDemandAttribute is not set on a provisioned stream.
	Attributes map[string]json.RawMessage
}

// Update changes a stream's settings and returns it as it is then, when the change is durable. Puts and reads go on
// meanwhile, and see it from their next call on: records that a shorter retention has expired are not served any more.
// A change to what is there already is a success, and writes nothing. A value out of its limits is ErrInvalid.
func (s *Store) Update(ctx context.Context, name string, c Change) (Description, error) {
	if err := c.check(); err != nil {
		return Description{}, fmt.Errorf("shards: update %q: %w", name, err)
	}
	st, err := s.change(ctx, name, func(def *definition) error {
		def.settings = def.settings.with(c)
		return def.settings.check()
	})
	if err != nil {
		return Description{}, fmt.Errorf("shards: update %q: %w", name, err)
	}
	return st.describe(), nil
}

// check says whether the values of a change can be taken; with looks at what they come to.
func (c *Change) check() error {
	if c.Retention != nil {
		if err := checkRetention(*c.Retention); err != nil {
			return err
		}
	}
	for name, value := range c.Attributes {
		if !json.Valid(value) {
			return invalid("attributes", name+": "+string(value), "JSON")
		}
	}
	return nil
}

// with is the settings after a change. What the receiver shares with its definition stays as it is.
func (set settings) with(c Change) settings {
	if c.Retention != nil {
		set.RetentionMillis = c.Retention.Milliseconds()
	}
	if c.MaxRecordBytes != nil {
		set.MaxRecordBytes = *c.MaxRecordBytes
	}
	if c.Mode != nil {
		set.Mode = *c.Mode
	}
	if c.Limits != nil {
		set.Limits = *c.Limits
	}
	set.Tags = withTags(set.Tags, c.SetTags, c.RemoveTags)
	set.Attributes = withAttributes(set.Attributes, c.Attributes, set.Mode)
	return set
}

// withAttributes are the attributes of a stream that has a mode, after some were set; nil when none are left.
func withAttributes(old, set map[string]json.RawMessage, mode Mode) map[string]json.RawMessage {
	attributes := make(map[string]json.RawMessage, len(old)+len(set))
	maps.Copy(attributes, old)
	for name, value := range set {
		var compact bytes.Buffer // as the definition is going to hold it
		if err := json.Compact(&compact, value); err != nil || compact.String() == "null" {
			delete(attributes, name)
			continue
		}
		attributes[name] = compact.Bytes()
	}
	if mode != OnDemand {
		maps.DeleteFunc(attributes, func(name string, _ json.RawMessage) bool { return strings.HasPrefix(name, OnDemandAttribute) })
	}
	if len(attributes) == 0 {
		return nil
	}
	return attributes
}

// withTags are tags after some were removed and others set; nil when none are left.
func withTags(tags, set map[string]string, remove []string) map[string]string {
	if len(set) == 0 && len(remove) == 0 {
		return tags
	}
	changed := make(map[string]string, len(tags)+len(set))
	maps.Copy(changed, tags)
	for _, key := range remove {
		delete(changed, key)
	}
	maps.Copy(changed, set)
	if len(changed) == 0 {
		return nil
	}
	return changed
}

// check says whether a stream can have these settings. Its error is a *FieldError.
func (set *settings) check() error {
	switch {
	case set.MaxRecordBytes < MinRecordBytes || set.MaxRecordBytes > MaxRecordBytes:
		return invalid("maxRecordBytes", strconv.Itoa(set.MaxRecordBytes)+" bytes", fmt.Sprintf("%d to %d bytes", MinRecordBytes, MaxRecordBytes))
	case set.Mode != Provisioned && set.Mode != OnDemand:
		return invalid("mode", string(set.Mode), fmt.Sprintf("%q or %q", Provisioned, OnDemand))
	case set.Limits != Unlimited && set.Limits != LimitsAWS:
		return invalid("limits", string(set.Limits), fmt.Sprintf("%q or %q", Unlimited, LimitsAWS))
	}
	if err := checkTags(set.Tags); err != nil {
		return err
	}
	return checkAttributes(set.Attributes)
}

func checkRetention(d time.Duration) error {
	switch {
	case d < MinRetention || d > MaxRetention:
		return invalid("retention", field.Duration(d), field.Duration(MinRetention)+" to "+field.Duration(MaxRetention))
	case d%time.Millisecond != 0:
		return invalid("retention", d.String(), "whole milliseconds")
	}
	return nil
}

// checkTags says whether a stream or consumer can have these tags, by the rules of AWS: letters, digits, spaces and
// _ . : / = + - @ in any script, and % which Kinesis allows too.
func checkTags(tags map[string]string) error {
	if len(tags) > MaxTags {
		return invalid("tags", fmt.Sprintf("%d tags", len(tags)), fmt.Sprintf("at most %d", MaxTags))
	}
	for key, value := range tags {
		if n := utf8.RuneCountInString(key); n < 1 || n > MaxTagKey || !isTagText(key) {
			return invalid("tags", key, fmt.Sprintf("keys of 1 to %d %s", MaxTagKey, tagText))
		}
		if utf8.RuneCountInString(value) > MaxTagValue || !isTagText(value) {
			return invalid("tags", value, fmt.Sprintf("values of at most %d %s", MaxTagValue, tagText))
		}
	}
	return nil
}

const tagText = "letters, digits, spaces and _ . : / = + - @ %"

func isTagText(s string) bool {
	for _, c := range s {
		switch {
		case unicode.IsLetter(c), unicode.IsMark(c), unicode.IsNumber(c), unicode.IsSpace(c):
		case c < utf8.RuneSelf && bytes.ContainsRune([]byte("_.:/=+-@%"), c):
		default:
			return false
		}
	}
	return utf8.ValidString(s)
}

func checkAttributes(attributes map[string]json.RawMessage) error {
	size := 0
	for name, value := range attributes {
		if name == "" || len(name) > MaxNameLength || !utf8.ValidString(name) {
			return invalid("attributes", name, fmt.Sprintf("names of 1 to %d bytes of UTF-8", MaxNameLength))
		}
		size += len(name) + len(value)
	}
	if len(attributes) > MaxAttributes || size > MaxAttributeBytes {
		return invalid("attributes", fmt.Sprintf("%d of %d bytes", len(attributes), size),
			fmt.Sprintf("at most %d, of %d bytes together", MaxAttributes, MaxAttributeBytes))
	}
	return nil
}
