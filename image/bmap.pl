#!/usr/bin/perl
# The block map of a disk image, in bmaptool's format 2.0 (its own manual page and files tell of it).
#   image/bmap.pl --make IMAGE       prints the map: RANGES on standard input say which blocks of 4 KiB must be written
#   image/bmap.pl --check IMAGE MAP  compares both, and that what the map leaves out is zeros
#   image/bmap.pl --fat IMAGE START  prints the ranges that the FAT32 file system at that byte has in use
# Which blocks must be written is not "those that are not zero": a file, a journal or a table of inodes may hold zeros, and on a
# medium that was used before, a block that is skipped keeps its old contents.
use strict;
use warnings;
use Digest::SHA;

my $BLOCK = 4096;

sub stop { print STDERR "bmap: $_[0]\n"; exit 1 }

sub read_at {
    my ($file, $at, $length) = @_;
    my $bytes = '';
    seek $file, $at, 0 or stop("can't seek: $!");
    while (length $bytes < $length) {
        my $got = read $file, $bytes, $length - length $bytes, length $bytes;
        stop("can't read at $at: $!") unless defined $got;
        last unless $got;
    }
    return $bytes;
}

# sum FILE FIRST LAST SIZE: SHA-256 of these blocks; the image's last block may be cut.
sub sum {
    my ($file, $first, $last, $size) = @_;
    my $sha = Digest::SHA->new(256);
    my ($at, $end) = ($first * $BLOCK, ($last + 1) * $BLOCK);
    $end = $size if $end > $size;
    while ($at < $end) {
        my $step = $end - $at > 1 << 22 ? 1 << 22 : $end - $at;
        $sha->add(read_at($file, $at, $step));
        $at += $step;
    }
    return $sha->hexdigest;
}

# Sorted, and those that touch one another joined.
sub joined {
    my @joined;
    for my $range (sort { $a->[0] <=> $b->[0] } @_) {
        if (@joined && $range->[0] <= $joined[-1][1] + 1) {
            $joined[-1][1] = $range->[1] if $range->[1] > $joined[-1][1];
        } else {
            push @joined, [@$range];
        }
    }
    return @joined;
}

sub make {
    my ($name) = @_;
    open my $file, '<:raw', $name or stop("$name: $!");
    my $size = -s $name;
    my $blocks = int(($size + $BLOCK - 1) / $BLOCK);
    my @ranges = joined(map { /^(\d+)-(\d+)$/ ? [$1, $2] : stop("no range: $_") } <STDIN>);
    my $mapped = 0;
    my $map = '';
    for my $range (@ranges) {
        my ($first, $last) = @$range;
        stop("range $first-$last is not in the image") if $first > $last || $last >= $blocks;
        $mapped += $last - $first + 1;
        my $numbers = $first == $last ? $first : "$first-$last";
        $map .= sprintf qq{        <Range chksum="%s"> %s </Range>\n}, sum($file, $first, $last, $size), $numbers;
    }
    my $zeros = '0' x 64;
    my $text = <<"XML";
<?xml version="1.0" ?>
<bmap version="2.0">
    <ImageSize> $size </ImageSize>
    <BlockSize> $BLOCK </BlockSize>
    <BlocksCount> $blocks </BlocksCount>
    <MappedBlocksCount> $mapped </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> $zeros </BmapFileChecksum>
    <BlockMap>
$map    </BlockMap>
</bmap>
XML
    # The map's own sum is taken with zeros in its place.
    my $own = Digest::SHA::sha256_hex($text);
    $text =~ s/> $zeros </> $own </;
    print $text;
}

sub check {
    my ($name, $mapname) = @_;
    open my $file, '<:raw', $name or stop("$name: $!");
    open my $mapfile, '<:raw', $mapname or stop("$mapname: $!");
    my $text = do { local $/; <$mapfile> };
    my ($own) = $text =~ /<BmapFileChecksum> ([0-9a-f]{64}) </ or stop("$mapname has no checksum of its own");
    (my $zeroed = $text) =~ s/> $own </'> ' . '0' x 64 . ' <'/e;
    stop("$mapname was changed: its own checksum differs") if Digest::SHA::sha256_hex($zeroed) ne $own;
    my ($size) = $text =~ /<ImageSize> (\d+) </;
    stop("$mapname is of an image of $size bytes, $name has " . -s $name) if $size != -s $name;
    my $next = 0;
    while ($text =~ /<Range chksum="([0-9a-f]{64})"> (\d+)(?:-(\d+))? </g) {
        my ($sum, $first, $last) = ($1, $2, $3 // $2);
        zeros($file, $next, $first, $size, $name);
        stop("$name differs from $mapname in blocks $first-$last") if sum($file, $first, $last, $size) ne $sum;
        $next = $last + 1;
    }
    zeros($file, $next, int(($size + $BLOCK - 1) / $BLOCK), $size, $name);
}

sub zeros {
    my ($file, $first, $end, $size, $name) = @_;
    my ($at, $stop) = ($first * $BLOCK, $end * $BLOCK);
    $stop = $size if $stop > $size;
    while ($at < $stop) {
        my $step = $stop - $at > 1 << 22 ? 1 << 22 : $stop - $at;
        stop("$name has bytes at $at that the map leaves out") if read_at($file, $at, $step) =~ /[^\0]/;
        $at += $step;
    }
}

# Boot sector, both tables, and the clusters that the table calls used (fatgen103: offsets 11, 13, 14, 16, 36).
sub fat {
    my ($name, $start) = @_;
    open my $file, '<:raw', $name or stop("$name: $!");
    my ($sector, $cluster, $reserved, $tables) = unpack 'x11 v C v C', read_at($file, $start, 64);
    my $length = unpack 'x36 V', read_at($file, $start, 64);
    stop("$name has no FAT32 file system at $start") unless $sector == 512 && $cluster && $tables && $length;
    my $data = $start + ($reserved + $tables * $length) * $sector;
    printf "%d-%d\n", $start / $BLOCK, ($data - 1) / $BLOCK;
    my @entries = unpack 'V*', read_at($file, $start + $reserved * $sector, $length * $sector);
    for my $number (2 .. $#entries) {
        next unless $entries[$number] & 0x0fffffff;
        my $at = $data + ($number - 2) * $cluster * $sector;
        printf "%d-%d\n", $at / $BLOCK, ($at + $cluster * $sector - 1) / $BLOCK;
    }
}

my ($mode, @arguments) = @ARGV;
if (($mode // '') eq '--make' && @arguments == 1) { make(@arguments) }
elsif (($mode // '') eq '--check' && @arguments == 2) { check(@arguments) }
elsif (($mode // '') eq '--fat' && @arguments == 2) { fat(@arguments) }
else { print STDERR "usage: image/bmap.pl --make IMAGE | --check IMAGE MAP | --fat IMAGE START\n"; exit 64 }
