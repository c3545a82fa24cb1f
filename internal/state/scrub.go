package state

import (
	"context"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

const (
	scrubEntries = 1000 // read at once
	maxReported  = 20   // damaged entries that an error names
)

// Scrub reads everything and compares it with its checksums. The error names what is damaged, at most 20 entries of it; errors.Is ErrDamaged. It ends
// early with ctx.
func (s *Store) Scrub(ctx context.Context) error {
	var damage []error
	for _, t := range s.Tables() {
		id := t.id()
		for after, more := "", true; more && len(damage) < maxReported; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := 0
			more = false
			err := s.view(func(tables *bolt.Bucket) error {
				return walk(tables.Bucket([]byte(id)), "", after, func(key string, v []byte) error {
					if n++; n > scrubEntries {
						more = true
						return errStop
					}
					after = key
					if _, _, err := decodeEntry(v, id, []byte(key)); err != nil && len(damage) < maxReported {
						damage = append(damage, err)
					}
					return nil
				})
			})
			if err != nil && !errors.Is(err, errStop) {
				damage = append(damage, fmt.Errorf("table %s: %w", t.Table, err))
			}
		}
	}
	return errors.Join(damage...)
}
