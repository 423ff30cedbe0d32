-- Pictures users upload: to start from, to mask with, for ControlNets to follow. The file lies in the store under `key`.
create table asset (
    id uuid primary key,
    account uuid not null references account,
    key text not null unique check (char_length(key) between 1 and 512),
    media_type text not null check (media_type in ('image/png', 'image/jpeg', 'image/webp')),
    width integer not null check (width > 0),
    height integer not null check (height > 0),
    bytes bigint not null check (bytes > 0),
    sha256 bytea not null check (octet_length(sha256) = 32),
    created_ms bigint not null,
    expires_ms bigint not null,
    -- When the file was in the store; before that no request can name it.
    stored_ms bigint,
    -- When its deletion began: no request can name it any more, and a reconciler deletes file and row.
    deleting_ms bigint
);
-- The same file uploaded again is the same asset.
create unique index asset_content on asset (account, sha256) where deleting_ms is null;
create index asset_by_account on asset (account, id desc);
create index asset_by_expiry on asset (expires_ms) where deleting_ms is null;
create index asset_deleting on asset (id) where deleting_ms is not null;

-- Which jobs read which assets: an asset is not deleted under a job that has not ended.
create table generation_asset (
    generation uuid not null references generation,
    asset uuid not null references asset on delete cascade,
    primary key (generation, asset)
);
create index generation_asset_by_asset on generation_asset (asset);
