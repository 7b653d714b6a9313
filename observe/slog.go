package observe

import (
	"context"
	"log/slog"
	"time"
)

// Slog returns an observer that logs the end of every operation with its duration: at debug level,
// or at warn level if it ended with an error. While the logger has neither level enabled an
// operation costs two checks. A nil logger is slog.Default().
//
// It is for development and for small programs. Errors of Redstart hold no secret; those of your
// own callbacks are logged as they are.
func Slog(logger *slog.Logger) Observer {
	if logger == nil {
		logger = slog.Default()
	}
	return slogObserver{logger}
}

type slogObserver struct{ logger *slog.Logger }

func (o slogObserver) Start(ctx context.Context, op Operation) (context.Context, func(err error)) {
	// Warn is the higher of the two levels: where it is off, debug is off for every sane handler,
	// but a handler may do as it likes.
	if !o.logger.Enabled(ctx, slog.LevelWarn) && !o.logger.Enabled(ctx, slog.LevelDebug) {
		return ctx, nil
	}
	start := time.Now()
	return ctx, func(err error) {
		level := slog.LevelDebug
		attrs := make([]slog.Attr, 0, 5)
		attrs = append(attrs,
			slog.String("pattern", op.Pattern),
			slog.String("name", op.Name),
			slog.String("verb", op.Verb),
			slog.Duration("duration", time.Since(start)))
		if err != nil {
			level = slog.LevelWarn
			attrs = append(attrs, slog.String("error", err.Error()))
		}
		o.logger.LogAttrs(ctx, level, "redstart", attrs...)
	}
}
