package catalog

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// chunkBytes is the size of an object's messages. Each costs a sync.
const chunkBytes = 512 << 10

// objects is JetStream's half of a bucket.
type objects struct {
	js     jetstream.JetStream
	bucket string
	store  jetstream.ObjectStore
	stream jetstream.Stream
}

// openObjects opens JetStream's object store, or makes it. One that is there and cannot
// be opened is removed: every blob has another copy.
func openObjects(ctx context.Context, js jetstream.JetStream, bucket string) (objects, error) {
	o := objects{js: js, bucket: bucket}
	err := o.bind(ctx)
	if err == nil || ctx.Err() != nil {
		return o, err
	}
	return o, o.reset(ctx)
}

// reset removes the object store, whatever is in it, and makes an empty one.
func (o *objects) reset(ctx context.Context) error {
	if err := o.js.DeleteStream(ctx, o.streamName()); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	_, err := createAgain(ctx, func() (struct{}, error) { return struct{}{}, o.bind(ctx) })
	return err
}

func (o *objects) streamName() string { return "OBJ_" + o.bucket }

func (o *objects) bind(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var err error
	o.store, err = o.js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{
		Bucket: o.bucket, Description: "blobs of the catalog", Storage: jetstream.FileStorage,
	})
	if err != nil {
		return err
	}
	o.stream, err = o.js.Stream(ctx, o.streamName())
	return err
}

// check looks at an object; unless deep, only at its description.
func (o *objects) check(ctx context.Context, name string, size int64, deep bool) error {
	if deep {
		_, err := o.get(ctx, name)
		return err
	}
	info, err := o.store.GetInfo(ctx, name)
	if err == nil && int64(info.Size) != size {
		err = fmt.Errorf("it has %d bytes, not %d", info.Size, size)
	}
	return err
}

// put stores an object, over any of its name, as NATS's ADR-20 lays objects down: chunks,
// then the description, which replaces the one before. The object store's own Put leaves
// a goroutine behind when the connection is closed soon after (nats.go 1.55).
func (o *objects) put(ctx context.Context, name string, data []byte) error {
	old, err := o.store.GetInfo(ctx, name)
	if err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
		return err
	}
	sum := sha256.New()
	sum.Write(data)
	info := &jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunkBytes}},
		Bucket:     o.bucket, NUID: rand.Text(), Size: uint64(len(data)),
		Digest: jetstream.GetObjectDigestValue(sum),
	}
	for chunk := range slices.Chunk(data, chunkBytes) {
		if _, err := o.js.Publish(ctx, o.chunks(info), chunk); err != nil {
			return err
		}
		info.Chunks++
	}
	m := nats.NewMsg(o.description(name))
	m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	if m.Data, err = json.Marshal(info); err != nil {
		return err
	}
	if _, err := o.js.PublishMsg(ctx, m); err != nil {
		return err
	}
	if old == nil {
		return nil
	}
	return o.stream.Purge(ctx, jetstream.WithPurgeSubject(o.chunks(old)))
}

// description is the subject of an object's description: its name in base64.
func (o *objects) description(name string) string {
	return fmt.Sprintf("$O.%s.M.%s", o.bucket, base64.URLEncoding.EncodeToString([]byte(name)))
}

// get reads an object message by message: the object store's own reader waits for ever
// for a chunk that is gone.
func (o *objects) get(ctx context.Context, name string) ([]byte, error) {
	info, err := o.store.GetInfo(ctx, name)
	if err != nil {
		return nil, err
	}
	if info.Size > MaxBlobBytes {
		return nil, fmt.Errorf("its description says it has %d bytes", info.Size)
	}
	data := make([]byte, 0, info.Size)
	chunks := o.chunks(info)
	for at := uint64(1); uint64(len(data)) < info.Size; {
		m, err := o.stream.GetMsg(ctx, at, jetstream.WithGetMsgSubject(chunks))
		if err != nil {
			return nil, fmt.Errorf("read it from byte %d on: %w", len(data), err)
		}
		data = append(data, m.Data...)
		at = m.Sequence + 1
	}
	return data, verify(name, data)
}

// list describes the objects, deleted ones included, whose markers nats-server may
// bring back after they were purged.
func (o *objects) list(ctx context.Context) ([]*jetstream.ObjectInfo, error) {
	prefix := fmt.Sprintf("$O.%s.M.", o.bucket)
	info, err := o.stream.Info(ctx, jetstream.WithSubjectFilter(prefix+"*"))
	if err != nil {
		return nil, err
	}
	list := make([]*jetstream.ObjectInfo, 0, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		name, err := base64.URLEncoding.DecodeString(strings.TrimPrefix(subject, prefix))
		if err != nil {
			return nil, fmt.Errorf("%s names no object: %w", subject, err)
		}
		object, err := o.store.GetInfo(ctx, string(name), jetstream.GetObjectInfoShowDeleted())
		if err != nil {
			return nil, fmt.Errorf("describe object %q: %w", name, err)
		}
		list = append(list, object)
	}
	return list, nil
}

// remove deletes an object and then the marker JetStream leaves of it. An object that
// is not there is no error.
func (o *objects) remove(ctx context.Context, name string) error {
	err := o.store.Delete(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return o.stream.Purge(ctx, jetstream.WithPurgeSubject(o.description(name)))
}

// sweepChunks removes chunks of no object: what a crash leaves of a put, and what
// nats-server brings back of chunks it had purged.
func (o *objects) sweepChunks(ctx context.Context) error {
	list, err := o.list(ctx)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, info := range list {
		used[o.chunks(info)] = true
	}
	info, err := o.stream.Info(ctx, jetstream.WithSubjectFilter(fmt.Sprintf("$O.%s.C.*", o.bucket)))
	if err != nil {
		return err
	}
	for subject := range info.State.Subjects {
		if used[subject] {
			continue
		}
		if err := o.stream.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
			return err
		}
	}
	return nil
}

// chunks is the subject of the chunks of an object.
func (o *objects) chunks(info *jetstream.ObjectInfo) string {
	return fmt.Sprintf("$O.%s.C.%s", o.bucket, info.NUID)
}
