package aws

import (
	"strconv"
	"strings"
	"time"

	"github.com/shardmill/shardmill/shards"
)

// streamRef is how a request names a stream: by name, by ARN, or by both. No stream has a StreamId, see streamSummary.
type streamRef struct {
	StreamName string `aws:"len=1..128;pattern=name"`
	StreamARN  string `aws:"len=1..2048;pattern=stream"`
	StreamId   string `aws:"len=1..24;pattern=streamid"`
}

// place is the front of every ARN of this account.
func (h *Handler) place() string { return "arn:aws:kinesis:" + h.region + ":" + h.account + ":" }

func (h *Handler) streamARN(name string) string { return h.place() + "stream/" + name }

// consumerARN ends with the second of the registration, so that a consumer that is registered anew has another one.
func (h *Handler) consumerARN(stream, consumer string, created time.Time) string {
	return h.streamARN(stream) + "/consumer/" + consumer + ":" + strconv.FormatInt(created.Unix(), 10)
}

// arn is a resource's.
type arn struct {
	stream   string
	consumer string // "" for a stream
	second   int64  // of the consumer's registration
}

// parseARN reads the ARN of a stream or a consumer; that of another account or region is no resource here.
func (h *Handler) parseARN(s string) (arn, error) {
	missing := faultf(codeNotFound, "Resource %s under account %s not found.", cut(s), h.account)
	parts := strings.SplitN(s, ":", 6)
	if len(parts) != 6 || !strings.HasPrefix(parts[1], "aws") || parts[3] != h.region || parts[4] != h.account {
		return arn{}, missing
	}
	name, ok := strings.CutPrefix(parts[5], "stream/")
	if !ok {
		return arn{}, missing
	}
	name, rest, ok := strings.Cut(name, "/consumer/")
	if !ok {
		return arn{stream: name}, nil
	}
	consumer, second, _ := strings.Cut(rest, ":")
	n, err := strconv.ParseInt(second, 10, 64)
	if err != nil || consumer == "" || n == 0 { // 0 is nobody's: so ends the ARN of one that is registered no more, see sourceARN
		return arn{}, missing
	}
	return arn{stream: name, consumer: consumer, second: n}, nil
}

// streamName is the name of the stream that a request is about.
func (c *call) streamName(ref streamRef) (string, error) {
	name := ref.StreamName
	if ref.StreamARN != "" {
		parsed, err := c.parseARN(ref.StreamARN)
		if err != nil {
			return "", err
		}
		// The model's pattern takes a consumer's ARN, too; its stream is not what the request names.
		if parsed.consumer != "" {
			return "", invalidArgument("StreamARN %s names a consumer; it must name a stream.", cut(ref.StreamARN))
		}
		if name != "" && name != parsed.stream {
			return "", invalidArgument("StreamName %s and StreamARN %s do not name the same stream.", name, ref.StreamARN)
		}
		name = parsed.stream
	}
	if ref.StreamId != "" {
		return "", faultf(codeNotFound, "Stream with id %s under account %s not found.", ref.StreamId, c.account)
	}
	if name == "" {
		return "", invalidArgument("Either StreamName or StreamARN must be provided.")
	}
	c.names.stream = name
	return name, nil
}

// stream is the stream that a request is about.
func (c *call) stream(ref streamRef) (*shards.Stream, error) {
	name, err := c.streamName(ref)
	if err != nil {
		return nil, err
	}
	return c.streams.Stream(name)
}

// description is the stream that a request is about, as it is now.
func (c *call) description(ref streamRef) (shards.Description, error) {
	name, err := c.streamName(ref)
	if err != nil {
		return shards.Description{}, err
	}
	return c.streams.Describe(c.r.Context(), name)
}
