package observe

import (
	"context"
	"log/slog"
	"time"
)

// Slog returns an Observer that logs the end of each operation, with its duration. The level is
// debug, or warn if the operation ended with an error. While the logger has neither level enabled,
// an operation costs two checks and no allocation. A nil logger is [slog.Default].
//
// Slog is for development and for small programs. Errors of Redstart contain no secret. Errors of
// your callbacks are logged unchanged.
func Slog(logger *slog.Logger) Observer {
	if logger == nil {
		logger = slog.Default()
	}
	return slogObserver{logger}
}

type slogObserver struct{ logger *slog.Logger }

func (o slogObserver) Start(ctx context.Context, op Operation) (context.Context, func(err error)) {
	// A handler may enable debug and not warn, so both levels are checked.
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
