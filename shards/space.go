package shards

import "golang.org/x/sys/unix"

// lowDisk is the free space, in bytes, below which a deleted stream's files go back to the system, because streams, functions
// and mappings cannot be made while the catalog's reserve is not there.
const lowDisk = 64 << 20

// roomy says whether the disk has more than lowDisk free. A disk that cannot be asked has.
func roomy(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) != nil || uint64(st.Bavail)*uint64(st.Bsize) > lowDisk
}
