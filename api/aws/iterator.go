package aws

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/shardmill/shardmill/shards"
)

// iteratorLife is how long a shard iterator, or a token of a list, can be used.
const iteratorLife = 5 * time.Minute

// iterator is a position in a shard: the record that is wanted next. doc.go draws its text.
type iterator struct {
	made     time.Time
	stream   string
	id       ulid.ULID // of the stream
	shard    shards.ShardID
	position uint64
}

const (
	iteratorVersion = 1
	iteratorFixed   = 1 + 8 + 8 + 4 + 16
	iteratorSum     = 16
)

var errIterator = invalidArgument("Invalid ShardIterator.")

// String is the opaque text.
func (it iterator) String() string { return string(it.append(nil)) }

func (it iterator) append(dst []byte) []byte {
	b := make([]byte, 0, iteratorFixed+shards.MaxNameLength+iteratorSum)
	b = append(b, iteratorVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(it.made.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, it.position)
	b = binary.BigEndian.AppendUint32(b, uint32(it.shard))
	b = append(b, it.id[:]...)
	b = append(b, it.stream...)
	b = append(b, iteratorCode(it.id, b)...)
	return base64.RawURLEncoding.AppendEncode(dst, b)
}

func iteratorCode(id ulid.ULID, b []byte) []byte {
	mac := hmac.New(sha256.New, id[:])
	mac.Write(b)
	return mac.Sum(nil)[:iteratorSum]
}

// parseIterator reads the text of an iterator, also between double quotes, as AWS does. Errors: InvalidArgumentException,
// ExpiredIteratorException.
func parseIterator(s string, now time.Time) (iterator, error) {
	if len(s) >= 2 && strings.HasPrefix(s, `"`) && strings.HasSuffix(s, `"`) {
		s = s[1 : len(s)-1]
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) < iteratorFixed+1+iteratorSum || b[0] != iteratorVersion {
		return iterator{}, errIterator
	}
	it := iterator{
		made:     time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:]))).UTC(),
		position: binary.BigEndian.Uint64(b[9:]),
		shard:    shards.ShardID(binary.BigEndian.Uint32(b[17:])),
		id:       ulid.ULID(b[21:37]),
		stream:   string(b[iteratorFixed : len(b)-iteratorSum]),
	}
	if !hmac.Equal(b[len(b)-iteratorSum:], iteratorCode(it.id, b[:len(b)-iteratorSum])) {
		return iterator{}, errIterator
	}
	if now.Sub(it.made) > iteratorLife {
		const form = "Mon Jan 02 15:04:05 UTC 2006"
		return iterator{}, faultf(codeExpiredIterator, "Iterator expired. The iterator was created at time %s while right now it is %s "+
			"which is further in the future than the tolerated delay of %d milliseconds.",
			it.made.Format(form), now.UTC().Format(form), iteratorLife.Milliseconds())
	}
	return it, nil
}
