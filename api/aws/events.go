package aws

import (
	"encoding/binary"
	"hash/crc32"
)

// An event stream is frames one behind the other:
//
//	size  field
//	   4  length of the frame, big-endian
//	   4  length of the headers
//	   4  CRC-32 (IEEE) of these 8 bytes
//	   h  headers: name length in a byte, name, type in a byte (7, a string), value length in two bytes, value
//	   p  payload
//	   4  CRC-32 of all before it
const (
	framePrelude = 12
	frameSum     = 4
	headerString = 7
)

// typeEventStream is the media type of the answer of SubscribeToShard.
const typeEventStream = "application/vnd.amazon.eventstream"

// The headers of the frames that are sent.
var (
	initialHeaders = frameHeaders(":message-type", "event", ":event-type", "initial-response", ":content-type", typeJSON)
	eventHeaders   = frameHeaders(":message-type", "event", ":event-type", "SubscribeToShardEvent", ":content-type", "application/json")
)

// frameHeaders encodes headers, given as name and value by turns.
func frameHeaders(pairs ...string) []byte {
	var b []byte
	for i := 0; i < len(pairs); i += 2 {
		b = append(b, byte(len(pairs[i])))
		b = append(b, pairs[i]...)
		b = append(b, headerString)
		b = binary.BigEndian.AppendUint16(b, uint16(len(pairs[i+1])))
		b = append(b, pairs[i+1]...)
	}
	return b
}

// beginFrame appends a frame up to its payload; endFrame, given where it starts, finishes it.
func beginFrame(dst, headers []byte) []byte {
	var prelude [framePrelude]byte
	binary.BigEndian.PutUint32(prelude[4:], uint32(len(headers)))
	dst = append(dst, prelude[:]...)
	return append(dst, headers...)
}

func endFrame(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start+frameSum))
	binary.BigEndian.PutUint32(dst[start+8:], crc32.ChecksumIEEE(dst[start:start+8]))
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
}

// initialFrame is what the SDKs wait for before they hand the stream to their caller.
func initialFrame() []byte {
	return endFrame(append(beginFrame(nil, initialHeaders), "{}"...), 0)
}

// faultFrame is an error in the stream.
func faultFrame(f *fault) []byte {
	b := beginFrame(nil, frameHeaders(":message-type", "exception", ":exception-type", f.code, ":content-type", "application/json"))
	return endFrame(append(b, jsonCodec{media: typeJSON}.encodeFault(f)...), 0)
}
