package api

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// maxPutRecords is how many records an application/json put may hold.
const maxPutRecords = 10_000

// putBody is PutRecords as it is decoded: the members of the records are taken
// as they are, so that what is wrong with one is that record's error alone.
type putBody struct {
	Records []putMembers `json:"records"`
}

// putMembers are the members of a PutRecord; a test holds the two alike. One
// that is absent is nil.
type putMembers struct {
	PartitionKey    jsontext.Value `json:"partitionKey"`
	Data            jsontext.Value `json:"data"`
	Text            jsontext.Value `json:"text"`
	JSON            jsontext.Value `json:"json"`
	ExplicitHashKey jsontext.Value `json:"explicitHashKey"`
}

// check refuses a body with too few records or too many.
func (b *putBody) check() error {
	n, fault := len(b.Records), ""
	switch {
	case b.Records == nil:
		fault = "is missing"
	case n == 0:
		fault = "is empty"
	case n > maxPutRecords:
		fault = fmt.Sprintf("has %d records", n)
	default:
		return nil
	}
	return faulty("records", fault, "an array of 1 to 10000 records (more can be put as "+typeLines+")")
}

// decode makes the records of a body, with their tickets. Those that cannot be
// are refused to the outcome.
func (b *putBody) decode(o *outcome) ([]record.Record, []ticket) {
	records := make([]record.Record, 0, len(b.Records))
	tickets := make([]ticket, 0, len(b.Records))
	for i := range b.Records {
		t := ticket{line: int64(i) + 1, place: int64(i)}
		r, bad := b.Records[i].decode()
		if bad != nil {
			o.refuse(t, bad)
			continue
		}
		records, tickets = append(records, r), append(tickets, t)
	}
	return records, tickets
}

// decode makes one record.
func (m *putMembers) decode() (r record.Record, bad *Problem) {
	if r.Key, bad = textOf("partitionKey", m.PartitionKey); bad != nil {
		return r, bad
	}
	if r.Data, bad = m.data(); bad != nil || m.ExplicitHashKey == nil {
		return r, bad
	}
	text, bad := textOf("explicitHashKey", m.ExplicitHashKey)
	if bad != nil {
		return r, bad
	}
	hash, err := shards.ParseHash(string(text))
	if err != nil {
		return r, problemOf(err)
	}
	bytes := hash.Bytes()
	r.ExplicitHash = bytes[:]
	return r, nil
}

// data is the record's data, of which there must be one form.
func (m *putMembers) data() ([]byte, *Problem) {
	var given []string
	for _, form := range []struct {
		name  string
		value jsontext.Value
	}{{"data", m.Data}, {"text", m.Text}, {"json", m.JSON}} {
		if form.value != nil {
			given = append(given, form.name)
		}
	}
	switch {
	case len(given) == 0:
		return nil, faulty("data", "is missing", "exactly one of data, text and json")
	case len(given) > 1:
		return nil, faulty("data", "is given as "+strings.Join(given, " and "), "exactly one of data, text and json")
	case m.JSON != nil:
		return m.JSON, nil
	case m.Text != nil:
		return textOf("text", m.Text)
	}
	if m.Data.Kind() != '"' {
		return nil, invalidJSON("data", m.Data, base64Form)
	}
	text, bad := textOf("data", m.Data)
	if bad != nil {
		return nil, bad
	}
	plain, err := base64.StdEncoding.AppendDecode(make([]byte, 0, base64.StdEncoding.DecodedLen(len(text))), text)
	if err != nil || strings.ContainsAny(string(text), "\r\n") {
		return nil, invalidJSON("data", m.Data, base64Form)
	}
	return plain, nil
}

// textOf is the text of a string; an absent one is nil.
func textOf(field string, v jsontext.Value) ([]byte, *Problem) {
	if v == nil {
		return nil, nil
	}
	if v.Kind() != '"' {
		return nil, invalidJSON(field, v, "a string")
	}
	text, err := jsontext.AppendUnquote(make([]byte, 0, len(v)), v)
	if err != nil {
		return nil, invalidJSON(field, v, "a string in UTF-8")
	}
	return text, nil
}
