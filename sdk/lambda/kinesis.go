package lambda

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

// Events of streams are read without reflection when they are written as the host writes them, which encoding/json takes twenty times as
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
	r := reader{b: payload, pairs: base64Pairs()}
	records := r.records()
	if r.failed || string(r.b) != "}" && (!window || !starts(r.b, nextMember)) {
		return false
	}
	to := (*kinesisEvent)(event.UnsafePointer()) // the event's type begins with what isKinesis has compared with this one
	to.Records = records
	if r.b[0] == ',' {
		rest := append([]byte{'{'}, r.b[1:]...)
		err := json.Unmarshal(rest, event.Interface())
		if same := len(to.Records) == len(records) && &to.Records[0] == &records[0]; err != nil || !same {
			event.Elem().SetZero()
			return false
		}
	}
	return true
}
