// A slider. The browser's own: every key and every screen reader knows it, and it costs nothing to load.
interface SliderProps {
  label: string;
  value: number;
  min: number;
  max: number;
  step?: number;
  onChange: (value: number) => void;
}

export function Slider({ label, onChange, ...rest }: SliderProps) {
  return (
    <input
      type="range"
      aria-label={label}
      className="h-6 w-full cursor-pointer accent-primary"
      onChange={(event) => onChange(Number(event.target.value))}
      {...rest}
    />
  );
}
