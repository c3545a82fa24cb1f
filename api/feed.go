package api

import (
	"bytes"
	"encoding/base64"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/shardmill/shardmill/sdk/record"
)

const (
	feedBuffer = 64 << 10         // bytes gathered before they are written
	keepAlive  = 15 * time.Second // between signs of life on idle server-sent events
)

// feed writes a stream of values, as NDJSON or as server-sent events. It is
// used by one goroutine.
type feed struct {
	w       http.ResponseWriter
	control *http.ResponseController
	idle    time.Duration // the longest one write may take
	events  bool
	begun   bool
	buf     []byte
	scanner scanner
}

// newFeed chooses the form that the request accepts.
func (c *call) newFeed() (*feed, error) {
	form, err := negotiate(c.r.Header.Values("Accept"))
	if err != nil {
		return nil, err
	}
	return &feed{
		w: c.w, control: http.NewResponseController(c.w), idle: c.limits.WriteIdle,
		events: form == typeEvents, buf: make([]byte, 0, feedBuffer+4<<10),
	}, nil
}

// negotiate finds the first media range of the Accept headers that a feed can
// serve; without any it is NDJSON. Quality values order nothing, but 0 excludes.
func negotiate(accept []string) (string, error) {
	all := strings.Join(accept, ",")
	if strings.TrimSpace(all) == "" {
		return typeLines, nil
	}
	for part := range strings.SplitSeq(all, ",") {
		t, params, err := mime.ParseMediaType(part)
		if quality, given := params["q"]; given {
			if q, bad := strconv.ParseFloat(quality, 64); bad != nil || q == 0 {
				continue
			}
		}
		if err != nil {
			continue
		}
		switch t {
		case typeEvents, "text/*":
			return typeEvents, nil
		case typeLines, "application/*", "*/*":
			return typeLines, nil
		}
	}
	limit := typeLines + " or " + typeEvents
	p := problem(KindNotAcceptable, "The Accept header is %s; ask for %s.", quote(all), limit)
	p.Field, p.Value, p.Limit = "Accept", cut(all), limit
	return "", p
}

// begin sends the header, so that the client knows that it is being served.
func (f *feed) begin() {
	if f.begun {
		return
	}
	f.begun = true
	header := f.w.Header()
	header.Set("Content-Type", typeLines)
	if f.events {
		header.Set("Content-Type", typeEvents)
	}
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no")
	f.w.WriteHeader(http.StatusOK)
}

// userPart is the place of a user record in the stored record it is from.
type userPart struct {
	index int // -1: the record is a stored one itself
	last  bool
}

var whole = userPart{index: -1, last: true}

// record adds one record. Server-sent events carry shard and sequence number as id; of the user records of an aggregate the last
// one does, so that a client that comes back with it misses none.
func (f *feed) record(shard string, r *record.Record, of userPart) error {
	if f.events && of.last {
		f.buf = append(append(append(f.buf, "id: "...), shard...), ':')
		f.buf = strconv.AppendUint(f.buf, r.Sequence, 10)
		f.buf = append(f.buf, '\n')
	}
	if f.events {
		f.buf = append(f.buf, "data: "...)
	}
	f.buf = appendRecord(f.buf, &f.scanner, shard, r, of.index)
	return f.end()
}

// value adds any value, under an event name where that is not "".
func (f *feed) value(event string, v any) error {
	b, err := json.Marshal(v, lenient)
	if err != nil {
		return err
	}
	if f.events {
		if event != "" {
			f.buf = append(append(append(f.buf, "event: "...), event...), '\n')
		}
		f.buf = append(f.buf, "data: "...)
	}
	f.buf = append(f.buf, b...)
	return f.end()
}

// end closes a value and writes when enough has gathered.
func (f *feed) end() error {
	f.buf = append(f.buf, '\n')
	if f.events {
		f.buf = append(f.buf, '\n')
	}
	if len(f.buf) < feedBuffer {
		return nil
	}
	return f.write()
}

// write hands what has gathered to the connection, which may hold it back.
func (f *feed) write() error {
	f.begin()
	if len(f.buf) == 0 {
		return nil
	}
	f.control.SetWriteDeadline(time.Now().Add(f.idle)) // where it is not supported there is no connection to guard
	_, err := f.w.Write(f.buf)
	f.buf = f.buf[:0]
	return err
}

// flush sends everything that has gathered.
func (f *feed) flush() error {
	if err := f.write(); err != nil {
		return err
	}
	f.control.SetWriteDeadline(time.Now().Add(f.idle))
	err := f.control.Flush()
	f.control.SetWriteDeadline(time.Time{})
	return err
}

// alive sends a comment that clients pass over; NDJSON has none.
func (f *feed) alive() error {
	if !f.events {
		return nil
	}
	f.buf = append(f.buf, ": alive\n\n"...)
	return f.flush()
}

// appendRecord appends a record as the JSON object of a line. The bytes are
// given as json where they are JSON, with line breaks between tokens as spaces
// so that the object stays on its line; as text where they are UTF-8; else in
// base64. sub is the index of a user record in its aggregate, -1 for a stored record.
func appendRecord(dst []byte, s *scanner, shard string, r *record.Record, sub int) []byte {
	dst = append(dst, `{"shard":"`...)
	dst = append(dst, shard...)
	dst = append(dst, `","sequenceNumber":"`...)
	dst = strconv.AppendUint(dst, r.Sequence, 10)
	dst = append(dst, '"')
	if sub >= 0 {
		dst = append(dst, `,"subSequenceNumber":`...)
		dst = strconv.AppendInt(dst, int64(sub), 10)
	}
	dst = append(dst, `,"partitionKey":`...)
	dst = appendQuoted(dst, r.Key)
	dst = append(dst, `,"arrival":"`...)
	dst = time.UnixMicro(r.Arrival).UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `",`...)
	if _, ok := s.scan(r.Data, nil); ok {
		dst = append(dst, `"json":`...)
		start := len(dst)
		dst = append(dst, r.Data...)
		oneLine(dst[start:])
		return append(dst, '}')
	}
	if utf8.Valid(r.Data) {
		dst = append(dst, `"text":`...)
		return append(appendQuoted(dst, r.Data), '}')
	}
	dst = append(dst, `"data":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, r.Data)
	return append(dst, `"}`...)
}

// oneLine replaces the line breaks of a JSON text, which are all between tokens.
func oneLine(b []byte) {
	for i, c := range b {
		if c == '\n' || c == '\r' {
			b[i] = ' '
		}
	}
}

// appendQuoted appends a JSON string; what is not UTF-8 becomes U+FFFD.
func appendQuoted(dst, text []byte) []byte {
	quoted, err := jsontext.AppendQuote(dst, text)
	if err != nil {
		quoted, _ = jsontext.AppendQuote(dst, bytes.ToValidUTF8(text, []byte("\uFFFD")))
	}
	return quoted
}

// shown is bytes as they are shown: exactly one of the three holds them, as in appendRecord.
func shown(b []byte) (asJSON jsontext.Value, text *string, data []byte) {
	switch {
	case validJSON(b):
		return jsontext.Value(b), nil, nil
	case utf8.Valid(b):
		s := string(b)
		return nil, &s, nil
	}
	return nil, nil, b
}
