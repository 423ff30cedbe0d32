-- What a job is part of, if it is traced: a traceparent of W3C Trace Context.
alter table generation add column traceparent text;
