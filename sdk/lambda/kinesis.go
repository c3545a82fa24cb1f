package lambda

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// Events of streams are read without reflection when they are written as the host writes them, which encoding/json takes ten times as
// long for. The author's event type is aws-lambda-go's, which this package does not import: it is filled through a type of the same
// layout, which is compared with it field by field first. What is written otherwise, by so much as a blank, is left to encoding/json.

// kinesisEvent has the layout of events.KinesisEvent.
type kinesisEvent struct {
	Records []kinesisRecord `json:"Records"`
}

type kinesisRecord struct {
	AwsRegion         string      `json:"awsRegion"`
	EventID           string      `json:"eventID"`
	EventName         string      `json:"eventName"`
	EventSource       string      `json:"eventSource"`
	EventSourceArn    string      `json:"eventSourceARN"`
	EventVersion      string      `json:"eventVersion"`
	InvokeIdentityArn string      `json:"invokeIdentityArn"`
	Kinesis           kinesisData `json:"kinesis"`
}

type kinesisData struct {
	ApproximateArrivalTimestamp secondsEpochTime `json:"approximateArrivalTimestamp"`
	Data                        []byte           `json:"data"`
	EncryptionType              string           `json:"encryptionType,omitempty"`
	PartitionKey                string           `json:"partitionKey"`
	SequenceNumber              string           `json:"sequenceNumber"`
	KinesisSchemaVersion        string           `json:"kinesisSchemaVersion"`
}

type secondsEpochTime struct{ time.Time }

const eventsPackage = "github.com/aws/aws-lambda-go/events"

// isKinesis tells whether a type is aws-lambda-go's event of a stream, or its event with a time window, which begins with the former.
func isKinesis(t reflect.Type) (kinesis, window bool) {
	if t == nil || !strings.HasSuffix(t.PkgPath(), eventsPackage) {
		return false, false
	}
	if t.Name() == "KinesisTimeWindowEvent" && t.Kind() == reflect.Struct && t.NumField() > 0 && t.Field(0).Anonymous {
		kinesis, _ = isKinesis(t.Field(0).Type)
		return kinesis, kinesis
	}
	return t.Name() == "KinesisEvent" && alike(t, reflect.TypeFor[kinesisEvent]()), false
}

// alike tells whether two types have the same layout, and the same names in JSON.
func alike(a, b reflect.Type) bool {
	if a == b {
		return true
	}
	if a.Kind() != b.Kind() || a.Size() != b.Size() {
		return false
	}
	switch a.Kind() {
	case reflect.Slice:
		return alike(a.Elem(), b.Elem())
	case reflect.Struct:
		if a.NumField() != b.NumField() {
			return false
		}
		for i := range a.NumField() {
			f, g := a.Field(i), b.Field(i)
			if f.Name != g.Name || f.Offset != g.Offset || f.Tag.Get("json") != g.Tag.Get("json") || !alike(f.Type, g.Type) {
				return false
			}
		}
		return true
	}
	return false
}

// decodeKinesis reads the event of a stream into event, a pointer to a type that isKinesis knows. It is false, and event as it was, where the
// event is not written as the host writes it.
func decodeKinesis(payload []byte, event reflect.Value, window bool) bool {
	r := reader{b: payload}
	records := r.records()
	if r.failed || (string(r.b) != "}" && (!window || len(r.b) == 0 || r.b[0] != ',')) {
		return false
	}
	to := (*kinesisEvent)(event.UnsafePointer()) // the event's type begins with what isKinesis has compared with this one
	if r.b[0] == ',' {
		rest := append([]byte{'{'}, r.b[1:]...)
		if err := json.Unmarshal(rest, event.Interface()); err != nil || to.Records != nil {
			event.Elem().SetZero()
			return false
		}
	}
	to.Records = records
	return true
}

// reader takes what it expects from the front of b.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) literal(s string) {
	if len(r.b) < len(s) || string(r.b[:len(s)]) != s {
		r.failed, r.b = true, nil
		return
	}
	r.b = r.b[len(s):]
}

// raw is what comes before the next quotation mark, which is passed over.
func (r *reader) raw() []byte {
	end := bytes.IndexByte(r.b, '"')
	if end < 0 {
		r.failed, r.b = true, nil
		return nil
	}
	s := r.b[:end]
	r.b = r.b[end+1:]
	return s
}

// text is a string up to the next quotation mark that is not escaped.
func (r *reader) text() string {
	whole := r.b
	s := r.raw()
	if bytes.IndexByte(s, '\\') >= 0 {
		return r.escaped(whole)
	}
	for _, c := range s {
		if c < ' ' {
			r.failed = true
		}
	}
	if !utf8.Valid(s) {
		r.failed = true
	}
	return string(s)
}

// escaped is the string with escapes that whole begins with.
func (r *reader) escaped(whole []byte) (s string) {
	for end := 0; end < len(whole); end++ {
		switch whole[end] {
		case '\\':
			end++
		case '"':
			r.b = whole[end+1:]
			if json.Unmarshal([]byte(`"`+string(whole[:end+1])), &s) != nil {
				r.failed = true
			}
			return s
		}
	}
	r.failed = true
	return ""
}

// data is bytes in base64 up to the next quotation mark.
func (r *reader) data() []byte {
	s := r.raw()
	size := base64.StdEncoding.DecodedLen(len(s)) - (len(s) - len(bytes.TrimRight(s, "=")))
	if size < 0 || len(s)%4 != 0 {
		r.failed = true
		return nil
	}
	b := make([]byte, size, size+2) // room for what padding stands for
	n, err := base64.StdEncoding.Decode(b[:cap(b)], s)
	if err != nil || n != size {
		r.failed = true
	}
	return b
}

// seconds is a time in seconds with three decimals, as events.SecondsEpochTime reads it.
func (r *reader) seconds() secondsEpochTime {
	const most = 11 // digits before the point, of a number that float64 holds to the millisecond
	end := bytes.IndexByte(r.b, '.')
	if end < 1 || end > most || len(r.b) < end+4 || r.b[0] == '0' && end > 1 {
		r.failed, r.b = true, nil
		return secondsEpochTime{}
	}
	millis := int64(0)
	for i, c := range r.b[:end+4] {
		if i == end {
			continue
		}
		if c < '0' || c > '9' {
			r.failed, r.b = true, nil
			return secondsEpochTime{}
		}
		millis = millis*10 + int64(c-'0')
	}
	r.b = r.b[end+4:]
	epoch := float64(millis) / 1000
	whole := int64(epoch)
	return secondsEpochTime{time.Unix(whole, int64((epoch-float64(whole))*1e9))}
}

// records are those of an event, up to and with the bracket behind the last.
func (r *reader) records() []kinesisRecord {
	r.literal(`{"Records":[`)
	var all []kinesisRecord
	var tail []byte // how the first record ends: mostly as all do
	for begun := len(r.b); !r.failed; {
		var next kinesisRecord
		r.head(&next)
		if tail != nil && bytes.HasPrefix(r.b, tail) {
			first := &all[0]
			next.EventName, next.EventSource, next.EventVersion = first.EventName, first.EventSource, first.EventVersion
			next.InvokeIdentityArn, next.AwsRegion, next.EventSourceArn = first.InvokeIdentityArn, first.AwsRegion, first.EventSourceArn
			r.b = r.b[len(tail):]
		} else {
			before := r.b
			r.tail(&next)
			if tail == nil && !r.failed {
				tail = before[:len(before)-len(r.b)]
				all = make([]kinesisRecord, 0, 1+len(r.b)/(begun-len(r.b)))
			}
		}
		if r.failed {
			break
		}
		all = append(all, next)
		if r.b[0] != ',' {
			break
		}
		r.b = r.b[1:]
	}
	r.literal(`]`)
	return all
}

// head reads what differs from record to record.
func (r *reader) head(to *kinesisRecord) {
	k := &to.Kinesis
	r.literal(`{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"`)
	k.KinesisSchemaVersion = "1.0"
	k.PartitionKey = r.text()
	r.literal(`,"sequenceNumber":"`)
	number := r.raw()
	r.literal(`,"data":"`)
	k.Data = r.data()
	r.literal(`,"approximateArrivalTimestamp":`)
	k.ApproximateArrivalTimestamp = r.seconds()
	r.literal(`},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"`)
	to.EventSource, to.EventVersion = "aws:kinesis", "1.0"
	to.EventID = r.text()
	// The event's number ends with the record's: one string is enough.
	if !strings.HasSuffix(to.EventID, string(number)) {
		r.failed = true
		return
	}
	k.SequenceNumber = to.EventID[len(to.EventID)-len(number):]
}

// tail reads what is mostly the same in all records.
func (r *reader) tail(to *kinesisRecord) {
	r.literal(`,"eventName":"aws:kinesis:record","invokeIdentityArn":"`)
	to.EventName = "aws:kinesis:record"
	to.InvokeIdentityArn = r.text()
	r.literal(`,"awsRegion":"`)
	to.AwsRegion = r.text()
	r.literal(`,"eventSourceARN":"`)
	to.EventSourceArn = r.text()
	r.literal(`}`)
	if !r.failed && len(r.b) == 0 {
		r.failed = true
	}
}
