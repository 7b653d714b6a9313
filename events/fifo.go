package events

// cut removes and returns the items behind the first n.
func (f *fifo[T]) cut(n int) []T {
	tail := append([]T(nil), f.items[f.head+n:]...)
	clear(f.items[f.head+n:])
	f.items = f.items[:f.head+n]
	return tail
}

// remove removes the i-th item.
func (f *fifo[T]) remove(i int) {
	var zero T
	at := f.head + i
	copy(f.items[at:], f.items[at+1:])
	f.items[len(f.items)-1] = zero
	f.items = f.items[:len(f.items)-1]
}
