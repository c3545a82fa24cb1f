package aws

import (
	"fmt"
	"strconv"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// codec is one of the protocols: how documents are read and written.
type codec interface {
	mediaType() string
	// decode reads a document into a tree of map[string]any, []any, string, []byte (CBOR only), float64, int64, bool,
	// instant (CBOR only) and nil. Of members with the same name the last one counts. Documents that nest deeper than maxDepth, or have more
	// than maxValues values, are refused.
	decode(b []byte) (any, error)
	// encode writes a struct with json tags.
	encode(v any) ([]byte, error)
	encodeFault(f *fault) []byte
	// readPut decodes a PutRecords (many) or a PutRecord that has the usual form; false for others, which then may have filled p in
	// part.
	readPut(body []byte, p *putRequest, many bool) bool
	// writer writes a document by hand, over the memory given.
	writer(into []byte) writer
}

// instant is a time of the wire: milliseconds since 1970. 0 is none.
type instant int64

func instantOf(t time.Time) instant { return instant(t.UnixMilli()) }

func (t instant) time() time.Time { return time.UnixMilli(int64(t)).UTC() }

// MarshalJSONTo writes seconds with a fraction, 1545084650.987.
func (t instant) MarshalJSONTo(enc *jsontext.Encoder) error {
	return enc.WriteValue(appendSeconds(nil, int64(t)))
}

// appendSeconds writes milliseconds as seconds with a fraction.
func appendSeconds(dst []byte, millis int64) []byte {
	if millis < 0 {
		return strconv.AppendFloat(dst, float64(millis)/1000, 'f', 3, 64)
	}
	dst = strconv.AppendInt(dst, millis/1000, 10)
	f := millis % 1000
	return append(dst, '.', byte('0'+f/100), byte('0'+f/10%10), byte('0'+f%10))
}

// MarshalCBOR writes tag 1 and whole milliseconds, as the Java SDKs want it (RFC 8949 would have seconds).
func (t instant) MarshalCBOR() ([]byte, error) {
	return cbor.Marshal(cbor.RawTag{Number: 1, Content: mustCBOR(int64(t))})
}

func mustCBOR(v any) []byte {
	b, err := writeCBOR.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("aws: encode %T: %v", v, err))
	}
	return b
}

var writeCBOR = func() cbor.EncMode {
	mode, err := cbor.EncOptions{NilContainers: cbor.NilContainerAsEmpty}.EncMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

// jsonCodec is AWS JSON 1.1, and 1.0, which differs in its name.
type jsonCodec struct {
	media string
	coral bool // errors are in the envelope that AWS answers plain JSON with, which no operation takes
}

func (j jsonCodec) mediaType() string { return j.media }

func (jsonCodec) decode(b []byte) (any, error) {
	if len(b) == 0 {
		return map[string]any{}, nil
	}
	return readJSON(b)
}

func (jsonCodec) encode(v any) ([]byte, error) { return json.Marshal(v) }

// faultDocument is an error on the wire.
type faultDocument struct {
	Type         string `json:"__type"`
	Message      string `json:"message,omitzero"`
	MessageUpper string `json:"Message,omitzero"` // of a SerializationException
}

func documentOf(f *fault) faultDocument {
	if f.code == codeSerialization {
		return faultDocument{Type: f.code, MessageUpper: f.message}
	}
	return faultDocument{Type: f.code, Message: f.message}
}

func (j jsonCodec) encodeFault(f *fault) []byte {
	var document any = documentOf(f)
	if j.coral {
		document = struct {
			Output  faultDocument
			Version string
		}{faultDocument{Type: "com.amazon.coral.service#" + f.code, Message: f.message}, "1.0"}
	}
	return encodeFaultDocument(document)
}

// encodeFaultDocument writes an error. Its message holds what a client sent, which need not be UTF-8.
func encodeFaultDocument(document any) []byte {
	b, err := json.Marshal(document, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		panic(fmt.Sprintf("aws: encode an error: %v", err))
	}
	return b
}

// cborCodec is the CBOR protocol of AWS's Java SDKs.
type cborCodec struct{}

func (cborCodec) mediaType() string { return typeCBOR }

func (cborCodec) decode(b []byte) (any, error) {
	if len(b) == 0 {
		return map[string]any{}, nil
	}
	r := cborReader{b: b, left: maxValues}
	tree, ok := r.tree(0)
	if !ok || r.i != len(b) {
		return nil, fmt.Errorf("malformed CBOR at byte %d", r.i)
	}
	return tree, nil
}

func (cborCodec) encode(v any) ([]byte, error) { return writeCBOR.Marshal(v) }

func (cborCodec) encodeFault(f *fault) []byte { return mustCBOR(documentOf(f)) }
