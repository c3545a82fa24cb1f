package aws

import (
	"encoding/base64"
	"encoding/json"
	"time"
)

// token is a place in a list that goes on: the NextToken of its next page.
type token struct {
	Kind   string      `json:"k"`
	Made   int64       `json:"m"`           // milliseconds since 1970
	Stream string      `json:"s,omitempty"` // name
	ID     string      `json:"i,omitempty"` // of the stream
	After  string      `json:"a"`           // the last one listed
	Filter shardFilter `json:"f"`
}

// The lists that go on.
const (
	tokenStreams   = "streams"
	tokenShards    = "shards"
	tokenConsumers = "consumers"
)

// String is the opaque text.
func (t token) String() string {
	t.Made = time.Now().UnixMilli()
	b, err := json.Marshal(t)
	if err != nil {
		panic("aws: encode a token: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseToken reads the token of a list. It is no secret: it names nothing that its caller may not name himself. Errors:
// InvalidArgumentException, ExpiredNextTokenException.
func parseToken(s, kind string, now time.Time) (token, error) {
	var t token
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	if err != nil || t.Kind != kind {
		return token{}, invalidArgument("NextToken is invalid.")
	}
	if now.Sub(time.UnixMilli(t.Made)) > iteratorLife {
		return token{}, faultf(codeExpiredToken, "NextToken has expired: it can be used for %d seconds.", int(iteratorLife.Seconds()))
	}
	return t, nil
}
