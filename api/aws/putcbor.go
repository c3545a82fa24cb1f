package aws

import (
	"github.com/shardmill/shardmill/sdk/record"
)

// putReader is putScanner for CBOR: what records point to is the body, but for text in chunks.
type putReader struct {
	cborReader
	p *putRequest
}

// readPut reads a whole request; many says that it is a PutRecords.
func (cborCodec) readPut(body []byte, p *putRequest, many bool) bool {
	r := putReader{cborReader: cborReader{b: body}, p: p}
	return r.object(p.begin(many)) && r.i == len(body) && len(p.records) > 0
}

// text is a string of one major type.
func (r *putReader) text(want byte) ([]byte, bool) {
	major, _, n, ok := r.head()
	if !ok || major != want {
		return nil, false
	}
	return r.str(major, n)
}

// object reads a map of which the members in allowed are known.
func (r *putReader) object(allowed members) bool {
	major, _, n, ok := r.head()
	if !ok || major != cborMap {
		return false
	}
	var seen members
	for i := uint64(0); r.more(i, n); i++ {
		name, ok := r.text(cborText)
		if !ok {
			return false
		}
		m := memberOf(name)
		if m&allowed == 0 || m&seen != 0 || !r.member(m) {
			return false
		}
		seen |= m
	}
	return seen&memberData != 0 || allowed&memberData == 0
}

func (r *putReader) member(m members) bool {
	switch m {
	case memberRecords:
		return r.records()
	case memberData:
		data, ok := r.text(cborBytes)
		r.p.records[len(r.p.records)-1].Data = data
		return ok && len(data) <= maxDataBytes
	}
	text, ok := r.text(cborText)
	return ok && r.p.setMember(m, text)
}

func (r *putReader) records() bool {
	major, _, n, ok := r.head()
	if !ok || major != cborArray {
		return false
	}
	for i := uint64(0); r.more(i, n); i++ {
		if i == maxPutRecords {
			return false
		}
		r.p.records = append(r.p.records, record.Record{})
		if !r.object(ofRecord) {
			return false
		}
	}
	return true
}
