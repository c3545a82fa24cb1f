package shards

import "encoding/json"

// MaxRecordBytes is the most bytes of data that a record of the stream may have, as it is set now.
func (st *Stream) MaxRecordBytes() int { return st.def().MaxRecordBytes }

// Limits is what each shard of the stream takes, as it is set now.
func (st *Stream) Limits() Limits { return st.def().Limits }

// Attribute is an opaque setting of the stream as it is now, nil when there is none; see Change. It must not be changed.
func (st *Stream) Attribute(name string) json.RawMessage { return st.def().Attributes[name] }
