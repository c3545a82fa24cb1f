package shards

import (
	"fmt"
	"strconv"
	"strings"
)

// ShardID numbers the shards of one stream from 0 on; a number is never used again. In text it is
// "shardId-000000000012".
type ShardID uint32

const shardPrefix = "shardId-"

// String is the text form.
func (id ShardID) String() string { return fmt.Sprintf("%s%012d", shardPrefix, uint32(id)) }

// MarshalText is the text form.
func (id ShardID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what ParseShardID reads.
func (id *ShardID) UnmarshalText(text []byte) error {
	parsed, err := ParseShardID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// ParseShardID reads "shardId-000000000012", with or without the zeros, or the bare number. Its error is a
// *FieldError, ErrInvalid; whether the stream has that shard is not its concern.
func ParseShardID(s string) (ShardID, error) {
	digits := strings.TrimPrefix(s, shardPrefix)
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || digits[0] == '+' {
		return 0, invalid("shard", s, `"shardId-" and a number, or the number alone`)
	}
	return ShardID(n), nil
}
