package cache

import "context"

// stamps are the generations under which a load's value is stored: those that stood when it began.
type stamps struct {
	clear, epoch *record
	tags         []string
	records      []*record // of tags
}

// stamp captures what a load needs, before it begins.
func (s *store) stamp(ctx context.Context, set *settings) (stamps, error) {
	need := s.lifetime(set) + s.opt.LoadTimeout
	if len(set.tags) == 0 && s.core.Capabilities().Tracking {
		if clear, epoch := s.generations.stand(s.core.Clock().Now() + need); epoch != nil {
			return stamps{clear: clear, epoch: epoch}, nil
		}
	}
	refs := append([]ref{clearRef, epochRef}, tagRefs(set.tags)...)
	recs, err := s.capture(ctx, refs, need)
	if err != nil {
		return stamps{}, err
	}
	return stamps{clear: recs[0], epoch: recs[1], tags: set.tags, records: recs[2:]}, nil
}

// late adds tags that the loader named. Their generations did not stand when the load began, so nothing may
// have been invalidated by tag since then: InvalidateTags changes the epoch first and the tags after it, here
// they are read in the opposite order.
//
//	load      epoch E0 ════════════════════ tag T1, epoch E1: E0 ≠ E1, not stored
//	another       InvalidateTags: epoch E1, tag T1
//
// It reports false if the value must not be stored.
func (s *store) late(ctx context.Context, st *stamps, set *settings) (bool, error) {
	if len(set.tags) == len(st.tags) {
		return true, nil
	}
	if s.pendsRef(epochRef) { // an InvalidateTags has failed before it changed the epoch
		return false, nil
	}
	added := set.tags[len(st.tags):]
	recs, err := s.capture(ctx, tagRefs(added), s.lifetime(set))
	if err != nil {
		return false, err
	}
	now, err := s.captureAll(ctx, []ref{epochRef}, 0, false) // the server's, not ours
	if err != nil {
		return false, err
	}
	st.tags, st.records = set.tags, append(st.records[:len(st.records):len(st.records)], recs...)
	return now[0].gen == st.epoch.gen, nil
}
