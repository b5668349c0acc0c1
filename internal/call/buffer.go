package call

import "sync"

// Bodies live in pooled buffers of a few sizes. A buffer that is not given
// back is left to the garbage collector: forgetting one is never an error.
var pools [6]sync.Pool // 4 KiB · 4^i: 4 KiB … 4 MiB

const smallest = 4 << 10

// Buffer returns an empty buffer with room for at least n bytes.
func Buffer(n int) []byte {
	size := smallest
	for i := range pools {
		if n <= size {
			if p, _ := pools[i].Get().(*[]byte); p != nil {
				return (*p)[:0]
			}
			return make([]byte, 0, size)
		}
		size <<= 2
	}
	return make([]byte, 0, n)
}

// FreeBuffer gives a buffer back. Nobody may use it any more.
func FreeBuffer(b []byte) {
	size := smallest
	for i := range pools {
		if cap(b) == size {
			b = b[:0]
			pools[i].Put(&b)
			return
		}
		size <<= 2
	}
}
