package lock

import "context"

// close ends what is held and hands it back, while calls still work.
func (l *Locker) close(ctx context.Context) error {
	l.closed.Store(true)
	close(l.done) // those who wait return
	for _, ls := range l.keeper.all() {
		ls.lose(errClosed)
	}
	l.unconfirmed.flush(ctx)
	return nil
}
